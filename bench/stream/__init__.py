"""`scripts/bench stream`: the ingest on a real broker, against the bare clients and against two frameworks, in one run.

Nothing of `l07` is imported here: the peers run these modules in an environment of their own."""
