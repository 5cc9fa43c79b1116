"""One member joins its group once, however many of its callers find it not yet there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from l07.backends.kafka.subscription import KafkaSubscription


async def nowhere(_: Any) -> dict[Any, int]:
    return {}


async def test_a_poll_and_a_look_at_the_ends_join_the_group_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    async def join(_: KafkaSubscription) -> Any:
        made.append(SimpleNamespace())
        await asyncio.sleep(0)
        return made[-1]

    monkeypatch.setattr(KafkaSubscription, "_join", join)
    monkeypatch.setattr(KafkaSubscription, "_check", lambda *_: "")
    member: Any = KafkaSubscription(SimpleNamespace(), ["t"], group="g", start=nowhere, lazy_commits=True)  # type: ignore[arg-type]

    found = await asyncio.gather(member._member(), member._member())

    assert len(made) == 1
    assert found[0] is found[1]
