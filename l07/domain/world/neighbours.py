"""The neighbouring domains that the tiny base learns from: other desks, other tools, other words, the same form of a tool call."""

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from l07.domain.world.tables import ANIMALS, FIRST, LAST, VALUES, words

# tool -> arguments with their kind, what a user says. None of these tools exists in the target domains.
TOOLS: Mapping[str, Sequence[tuple[str, Mapping[str, str], tuple[str, ...]]]] = {
    "office": (
        (
            "add_meeting",
            {"title": "word", "on": "day"},
            ("add {title} on {on}", "put a {title} meeting on {on}", "we meet for the {title}, {on}"),
        ),
        (
            "open_file",
            {"file_id": "code"},
            ("open file {file_id}", "show me the file {file_id} please", "i want to read {file_id}"),
        ),
        (
            "share_file",
            {"file_id": "code", "user": "user"},
            ("share {file_id} with {user}", "{user} needs file {file_id}", "give {user} access to {file_id}"),
        ),
        ("find_file", {"query": "word"}, ("find the {query} file", "where is my {query}?", "look for a {query}")),
    ),
    "weather": (
        (
            "weather_in",
            {"city": "city"},
            ("weather in {city}?", "how warm is {city} today", "do i need a coat in {city}"),
        ),
        (
            "forecast",
            {"city": "city", "on": "day"},
            ("forecast for {city} on {on}", "will it rain in {city} on {on}?", "{on} in {city}, is it sunny"),
        ),
    ),
    "devops": (
        (
            "restart",
            {"service": "word", "host_id": "code"},
            (
                "restart {service} on {host_id}",
                "{service} hangs on {host_id}, restart it",
                "host {host_id} needs a new start of {service}",
            ),
        ),
        (
            "read_logs",
            {"host_id": "code"},
            ("logs of {host_id}", "show me what host {host_id} says", "why did {host_id} stop"),
        ),
        (
            "scale",
            {"service": "word", "count": "count"},
            ("scale {service} to {count}", "i need {count} copies of {service}", "{service} times {count}"),
        ),
    ),
    "bank": (
        (
            "balance",
            {"account_id": "code"},
            ("balance of account {account_id}", "how much is in {account_id}?", "check my account {account_id}"),
        ),
        (
            "block_card",
            {"card_id": "code"},
            ("block card {card_id}", "my card {card_id} was stolen", "somebody has {card_id}, block it"),
        ),
        (
            "pay",
            {"account_id": "code", "amount": "count"},
            (
                "pay {amount} to {account_id}",
                "send {amount} dollars to account {account_id}",
                "account {account_id} gets {amount} from me",
            ),
        ),
    ),
    "music": (
        ("play", {"song_id": "code"}, ("play {song_id}", "i want to hear {song_id}", "song {song_id} now")),
        (
            "rate",
            {"song_id": "code", "stars": "count"},
            ("rate {song_id} with {stars}", "{stars} stars for {song_id}", "song {song_id} is worth {stars}"),
        ),
        (
            "queue_up",
            {"song_id": "code", "user": "user"},
            ("queue {song_id} for {user}", "{user} wants {song_id} next", "after this {song_id}, says {user}"),
        ),
    ),
}
WORDS = words(
    "report budget roadmap design notes backup camera garden kitchen laptop printer router monitor server badge contract survey"
)
KINDS = ("code", "user", "word", "city", "day", "count")


def documents(count: int, seed: int) -> list[dict[str, Any]]:
    """`count` short runs ({"messages", "tools"}) in neighbouring domains; the same seed gives the same runs, and a prefix for a smaller count."""
    rng = random.Random(f"neighbours/{seed}")
    return [_document(rng) for _ in range(count)]


def drills(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of a text and what continues it, a copy of what was said: a small model learns to copy ids from these long before it would from runs alone."""
    rng = random.Random(f"drills/{seed}")
    out = []
    for _ in range(count):
        text = " ".join(_value(rng.choice(KINDS), rng) for _ in range(rng.randint(2, 4)))
        out.append((f"{text} =", f" {text} ; {text}"))
    return out


def _document(rng: random.Random) -> dict[str, Any]:
    name = rng.choice(sorted(TOOLS))
    tool, kinds, phrases = rng.choice(TOOLS[name])
    arguments = {argument: _value(kind, rng) for argument, kind in kinds.items()}
    goal = rng.choice(phrases).format(**arguments)
    state = rng.choice(("ok", "done", "missing", "late"))
    first = next(iter(arguments.values()))
    messages = [
        {"role": "user", "content": goal},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": tool, "arguments": arguments}}]},
        {"role": "tool", "tool_call_id": "call_1", "name": tool, "content": json.dumps({**arguments, "status": state})},
        {"role": "assistant", "content": f"{tool} {first} is {state}."},
    ]  # fmt: skip
    return {"messages": messages, "tools": _schemas(name) if rng.random() < 0.7 else []}


def _schemas(name: str) -> list[dict[str, Any]]:
    return [_schema(tool, kinds) for tool, kinds, _ in TOOLS[name]]


def _schema(tool: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {a: {"type": "string"} for a in kinds}, "required": list(kinds)}
    about = {"name": tool, "description": tool.replace("_", " "), "parameters": parameters}
    return {"type": "function", "function": about}


def _value(kind: str, rng: random.Random) -> str:
    if kind == "code":
        return f"{rng.choice(ANIMALS)}-{rng.randint(10, 99)}"
    if kind == "user":
        return f"{rng.choice(FIRST)}_{rng.choice(LAST)}"
    if kind == "count":
        return str(rng.randint(2, 99))
    return rng.choice(WORDS if kind == "word" else VALUES[kind])
