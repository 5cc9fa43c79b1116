"""The fault campaign: real Kafka, real Redis, several consumers under fire, and a judge that shares no code with `l07`.

`scripts/campaign` runs it; `python -m tests.campaign --help` says what can be chosen."""
