"""Erasure: what was recorded in the ledger `erasures` is made true everywhere, in steps that may each be done again.

The order stands in the ledger first. From then on the ingest lets nothing of it in; then it goes from the buffer, from the bus
where that is ours, and from the datasets, in whatever process has them open. Killed in between, the next one goes on.

`finish.py` does it all; this page brings in no more than the ingest needs.
"""

from l07.pipeline.forget.buffer import clean
from l07.pipeline.forget.known import Known, disagreement, order, stuck, tell

__all__ = ["Known", "clean", "disagreement", "order", "stuck", "tell"]
