"""Everyone of a version as a mapping: one is searched for, a walk reads all of them at once."""

from dataclasses import replace

import pytest

from l07.pipeline.curate.roll import Everyone, Roll
from tests.curation import a_batch, a_task_each
from tests.unit.pipeline.test_curate_build import built


def test_a_walk_through_everyone_searches_for_nobody() -> None:
    members = list(built(a_batch(a_task_each(12))).members.values())
    asked: list[object] = []
    roll = Roll.of(members)
    find, read = roll.find, roll.members
    watched = replace(
        roll,
        find=lambda keys: asked.append(("find", len(keys))) or find(keys),
        members=lambda rows: asked.append(("members", len(rows))) or read(rows),
    )
    changed = {0: members[0].but(reasons=("changed",))}
    everyone = Everyone(watched, changed)
    assert [key for key, _ in everyone.items()] == sorted(member.key for member in members)
    assert list(everyone.values()) == sorted([*changed.values(), *members[1:]], key=lambda one: one.key)
    assert asked == [("members", 11)], "however often it is walked through"
    assert everyone[members[0].key].reasons == ("changed",)


def test_one_alone_is_searched_for() -> None:
    members = list(built(a_batch(a_task_each(12))).members.values())
    everyone = Everyone(Roll.of(members), {})
    assert everyone[members[5].key] == members[5]
    for walked in (False, True):
        if walked:
            list(everyone)
        with pytest.raises(KeyError):
            everyone["nobody"]
        assert "nobody" not in everyone
