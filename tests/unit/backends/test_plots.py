"""Pictures of numbers: what is drawn, and what is not."""

import xml.etree.ElementTree as ET
from typing import Any

from l07.backends.card import card
from l07.backends.croissant import croissant
from l07.backends.plots import plots

SVG = "{http://www.w3.org/2000/svg}"


def a_manifest(**changes: Any) -> dict[str, Any]:
    edges = [0.0, 50.0, 100.0]
    made = {
        "dataset": "default", "version": "1.0.0", "digest": "d", "parent": None, "added": 3, "removed": 0, "altered": 0,
        "splits": {"train": 1, "validation": 1, "test": 1}, "groups": {"train": 1, "validation": 1, "test": 1},
        "contrast": 0, "review": 0, "score_mean": 90.0, "score_deviation": 1.0, "domains": {"a": 3},
        "difficulties": {"easy": 3}, "reasons": {}, "config": {"quality_threshold": 70.0}, "files": {},
        "histograms": {
            "score": {"edges": edges, "splits": [0, 3], "contrast": [2, 0]},
            "difficulty": {"edges": [0.0, 0.5, 1.0], "splits": [3, 0]},
            "length": {"edges": [10.0, 100.0, 1000.0], "splits": [1, 2]},
        },
        "domain_splits": {"a": {"train": 1, "validation": 1, "test": 1}},
        "left": [{"source": "/s", "stage": "gates", "reason": "quality_score", "rows": 2}],
        "own": {"rows": 0, "share": 0.0, "new_rows": 0, "new_share": None, "models": {}, "trend": []},
        "curriculum": {"pacing": "buckets", "stages": []}, "warnings": [],
    }  # fmt: skip
    return made | changes


def boxes(svg: str, colour: str) -> list[ET.Element]:
    return [
        box
        for box in ET.fromstring(svg).iter(f"{SVG}rect")
        if box.get("class") == colour and box.find(f"{SVG}title") is not None
    ]


def test_bars_are_as_high_as_their_counts() -> None:
    score = plots(a_manifest())["score.svg"]
    splits = [box for box in boxes(score, "a") if box.get("height") != "10.0"]
    contrast = [box for box in boxes(score, "b") if box.get("height") != "10.0"]
    assert [box[0].text for box in splits + contrast] == ["3", "2"]
    assert float(splits[0].get("height", 0)) * 2 == float(contrast[0].get("height", 0)) * 3


def test_the_gate_is_marked_where_the_settings_put_it() -> None:
    assert "gate 70" in plots(a_manifest())["score.svg"]
    assert "gate 80" in plots(a_manifest(config={"quality_threshold": 80.0}))["score.svg"]


def test_nothing_is_drawn_of_nothing() -> None:
    empty = {"edges": [0.0, 1.0], "splits": [0]}
    none = a_manifest(histograms={"score": empty, "difficulty": empty, "length": empty}, domain_splits={}, left=[])
    assert plots(none) == {}


def test_a_trend_needs_two_versions_and_a_row_of_ours() -> None:
    def own(*shares: float | None) -> dict[str, Any]:
        return {"trend": [{"version": f"1.{n}.0", "share": share} for n, share in enumerate(shares)]}

    assert "own.svg" not in plots(a_manifest(own=own(0.5)))
    assert "own.svg" not in plots(a_manifest(own=own(0.0, None)))
    assert "1.1.0: 50.0 %" in plots(a_manifest(own=own(0.0, 0.5)))["own.svg"]


def test_very_many_reasons_and_sources_are_bounded() -> None:
    left = [{"source": f"/s{n}", "stage": "other", "reason": f"r{n}", "rows": 100 - n} for n in range(60)]
    svg = plots(a_manifest(left=left))["left.svg"]
    assert "and 44 more" in svg
    assert "others" in svg
    assert "and 35 more" in card(a_manifest(left=left))


def test_the_card_offers_only_what_has_rows_and_tells_clusters_and_warnings() -> None:
    largest = {"rows": 9, "share": 0.06, "kept": 4, "share_kept": 0.05}
    sources = {"/s": {"passed": 100, "kept": 80, "share_kept": 0.8}}
    clusters = {"clusters": 3, "rows": 15, "largest": largest, "sources": sources}
    warning = {"name": "large_cluster", "message": "one cluster has 9 runs"}
    text = card(a_manifest(contrast=2, clusters=clusters, warnings=[warning]))
    assert "config_name: contrast" in text
    assert "config_name: review" not in text
    assert "config_name: curriculum" not in text
    assert "The largest has 9 (6.0 % of all), 4 of them in the splits (5.0 %)" in text
    assert "| /s | 100 | 80 | 80.0 % |" in text
    assert "- large_cluster: one cluster has 9 runs" in text


def test_a_table_in_several_files_is_one_set_of_files() -> None:
    files = {f"data/train-{n}.parquet": {"sha256": f"{n}", "bytes": 1} for n in range(2)}
    files |= {f"data/{split}-0.parquet": {"sha256": split, "bytes": 1} for split in ("validation", "test")}
    said = croissant(a_manifest(files=files))
    records = {record["@id"]: record["field"][0]["source"] for record in said["recordSet"]}
    assert records["train"]["fileSet"] == {"@id": "train-files"}
    assert records["test"]["fileObject"] == {"@id": "data/test-0.parquet"}
    sets = [one for one in said["distribution"] if one["@type"] == "cr:FileSet"]
    assert [one["includes"] for one in sets] == ["data/train-*.parquet"]
    assert len(said["distribution"]) == 5
