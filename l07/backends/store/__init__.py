"""Artifacts and ledgers on a folder: what is published appears whole, what is recorded is never written twice."""

from l07.backends.store.artifacts import FolderStore
from l07.backends.store.check import Finding, verify
from l07.backends.store.lease import FolderLeases
from l07.backends.store.ledger import FolderLedger

__all__ = ["Finding", "FolderLeases", "FolderLedger", "FolderStore", "verify"]
