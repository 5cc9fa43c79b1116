"""The audit: faults of known kinds go into a copy of somebody's runs, the curator builds from it as it always does, and
what came out is counted."""
