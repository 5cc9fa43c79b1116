"""Faults of known kinds, made to be put into somebody's own data: the measure of what the filter finds."""
