"""The negative controls: a product with one safeguard taken out, and the faults that must show it. Each must be red."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.campaign.broken import changed_script
from tests.campaign.stage import Choices

BASE = Choices(seed=3, minutes=0.6, events=4_000, seal_count=40, seal_age_s=8, curators=0, real=False, patience=0.4)

CONTROLS: Mapping[str, tuple[str, ...]] = {
    "fence-off": ("late write", "late write", "zombie (SIGSTOP)", "kill -9 everybody"),
    "kafka-offsets": ("Redis power loss", "Redis power loss", "kill -9 everybody", "Redis flushed"),
    "no-dedup": ("kill -9 a member",),
    "no-barrier": ("Redis power loss", "Redis power loss", "Redis power loss", "Redis power loss"),
    "no-seek": ("Redis power loss", "kill -9 everybody", "Redis flushed"),
    "event-time-expiry": (),
}


def control_choices(name: str) -> Choices:
    """The short campaign of this control. Raises AssertionError where the script has no longer what it changes."""
    changed_script(name)
    days = 20 if name == "event-time-expiry" else 0
    kinds = CONTROLS[name] or ("kill -9 a member",)
    return replace(BASE, control=name, kinds=kinds, replay_days=days)


def found_out(red: Sequence[str]) -> bool:
    """Whether these faults are the safeguard's: members that ended by an error of the control itself lose runs, too."""
    return bool(red) and not any(fault.startswith("errors that nobody caught") for fault in red)
