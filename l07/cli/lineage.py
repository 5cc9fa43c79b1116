"""From a model to its job, its dataset, and the events and offsets that this was made of."""

from collections.abc import Iterable, Mapping
from typing import Any

from l07.cli.views import View
from l07.events.record import TopicPartition
from l07.settings import Settings


class Lineage:
    """Walks back as far as ledgers and the dataset's provenance table lead. `rows`: how many of its rows, -1 all."""

    def __init__(self, settings: Settings, known: Mapping[str, Mapping[str, View]], *, rows: int) -> None:
        self._settings = settings
        self._known = known
        self._rows = rows

    def of(self, what: str, view: View) -> dict[str, Any]:
        """A word for each step back: "job", "dataset", "events"; what is not known is left out."""
        found: dict[str, Any] = {}
        dataset: View | None = view if what == "datasets" else None
        if what == "models":
            job = self._known["jobs"].get(str(view.get("lineage", {}).get("job_id")))
            if job is not None:
                found["job"] = job
            dataset = self._dataset_of_model(view, job)
        elif what == "jobs":
            dataset = self._known["datasets"].get(view["dataset"])
        if dataset is None:
            return found
        if what != "datasets":
            found["dataset"] = dataset
        events = self._events(dataset)
        return {**found, "events": events} if events else found

    def _dataset_of_model(self, model: View, job: View | None) -> View | None:
        if job is not None:
            return self._known["datasets"].get(job["dataset"])
        digest = model.get("lineage", {}).get("dataset_digest")
        return next((d for d in self._known["datasets"].values() if digest and d.get("digest") == digest), None)

    def _events(self, dataset: View) -> dict[str, Any] | None:
        from l07.backends.open import open_store

        folder = open_store(self._settings).path(str(dataset["uri"]))
        if not any((folder / name).exists() for name in ("provenance", "provenance.parquet")):
            return None
        from l07.backends.parquet import read_lineage

        return summarise(read_lineage(folder), rows=self._rows)


def summarise(provenance: Iterable[Mapping[str, Any]], *, rows: int) -> dict[str, Any]:
    """How many rows and events, from where to where in each partition, and the first `rows` rows."""
    sample: list[Mapping[str, Any]] = []
    partitions: dict[str, dict[str, int]] = {}
    total = 0
    for row in provenance:
        total += 1
        if rows < 0 or len(sample) < rows:
            sample.append(row)
        for at in (row.get("trace_at"), row.get("score_at")):
            for place in str(at or "").split():  # of a pair both stand in one
                _widen(partitions, place)
    ordered = dict(sorted(partitions.items(), key=lambda item: TopicPartition.parse(item[0])))
    events = sum(span["records"] for span in ordered.values())
    return {"rows": total, "events": events, "partitions": ordered, "sample": sample}


def _widen(partitions: dict[str, dict[str, int]], at: str) -> None:
    partition, _, text = at.rpartition(":")
    offset = int(text)
    span = partitions.setdefault(partition, {"records": 0, "first": offset, "last": offset})
    span["records"] += 1
    span["first"] = min(span["first"], offset)
    span["last"] = max(span["last"], offset)
