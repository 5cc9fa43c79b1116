"""Our packing of commands gives the library's bytes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio.connection import Connection

from l07.backends.redis.packing import PlainConnection

words = st.one_of(
    st.binary(max_size=9000),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False),
)
commands = st.tuples(st.sampled_from(["GET", "CONFIG GET", "FCALL", b"SET"]), st.lists(words, max_size=8)).map(
    lambda found: (found[0], *found[1])
)


@given(st.lists(commands, min_size=1, max_size=6))
def test_the_same_commands_are_the_same_bytes(given_commands: list[tuple[Any, ...]]) -> None:
    theirs, ours = Connection(host="x"), PlainConnection(host="x")
    assert b"".join(ours.pack_commands(given_commands)) == b"".join(theirs.pack_commands(given_commands))
    assert b"".join(ours.pack_command(*given_commands[0])) == b"".join(theirs.pack_command(*given_commands[0]))


def test_a_step_is_one_piece() -> None:
    """So that the transport does not copy it again."""
    assert len(PlainConnection(host="x").pack_commands([("SET", "k", b"v" * 2000)] * 300)) == 1
