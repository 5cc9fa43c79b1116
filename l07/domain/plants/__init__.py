"""Faults of known kinds, made to be put into somebody's own data: the measure of what the filter finds.

Pure and seeded. A planter gets a run, the others to borrow from, and its own chance; it gives the run back with the
fault in it and says what it did, or None where the run does not lend itself to that fault."""
