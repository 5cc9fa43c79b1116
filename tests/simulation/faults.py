"""What each kind of fault does to a simulation."""

from collections.abc import Callable
from typing import Any

from l07.runner import INGEST_GROUP
from tests.simulation.plan import Fault


def kill_at_call(sim: Any, fault: Fault) -> None:
    process = sim.node_of(fault).process
    if process is not None:
        process.dies_at_call = process.calls + 1 + fault.which % 40


def nap(sim: Any, fault: Fault) -> None:
    process = sim.node_of(fault).process
    if process is not None:
        process.nap_s = fault.lasts_s


def leave(sim: Any, fault: Fault) -> None:
    node = sim.node_of(fault)
    if node.ingest is not None and len(sim.nodes) > 1:
        node.ingest.stop.set()


def join(sim: Any, _: Fault) -> None:
    if len(sim.nodes) < 5:
        sim.nodes.append(sim.new_node(f"member{len(sim.nodes)}"))
        sim.nodes[-1].start()


def crash(sim: Any, fault: Fault) -> None:
    sim.redis.crash()
    sim.for_a_while(fault, sim.redis.server, "down", True, False)


def flush(sim: Any, fault: Fault) -> None:
    sim.redis.flush()
    sim.for_a_while(fault, sim.redis.server, "down", True, False)


def restore(sim: Any, fault: Fault) -> None:
    sim.redis.restore()
    sim.for_a_while(fault, sim.redis.server, "down", True, False)


def slow(sim: Any, fault: Fault) -> None:
    logs = sim.kafka.of(sim.inputs)
    sim.kafka.slow[logs[fault.which % len(logs)].tp] = sim.loop.now + fault.lasts_s


def retain(sim: Any, fault: Fault) -> None:
    """The log's head goes: what was applied and is on the buffer's disk, or a part of it."""
    for log in sim.kafka.of(sim.inputs):
        position = sim.redis.disk.positions.get(log.tp)
        if position is not None and fault.which % 3:
            log.cut_head(position.next - fault.which % 3)


def compact(sim: Any, fault: Fault) -> None:
    logs = sim.kafka.of(sim.inputs)
    logs[fault.which % len(logs)].compact()


def again(sim: Any, fault: Fault) -> None:
    """Halves whose others lay in the old log wait for their whole time: the operator gives them room (deploy/RUNBOOK.md)."""
    sim.kafka.make_again(sim.inputs[fault.which % len(sim.inputs)])
    sim.redis.limit *= 2


FAULTS: dict[str, Callable[[Any, Fault], None]] = {
    "kill": lambda sim, fault: sim.node_of(fault).kill(),
    "kill at call": kill_at_call,
    "sleep": lambda sim, fault: sim.node_of(fault).sleep(fault.lasts_s),
    "sleep in publish": nap,
    "rebalance": lambda sim, fault: sim.kafka.group(INGEST_GROUP, sim.inputs).rebalance(),
    "member leaves": leave,
    "member joins": join,
    "buffer crashes": crash,
    "buffer flushed": flush,
    "buffer restored": restore,
    "buffer away": lambda sim, fault: sim.for_a_while(fault, sim.redis.server, "down", True, False),
    "buffer full": lambda sim, fault: sim.for_a_while(fault, sim.redis, "full", True, False),
    "buffer loses calls": lambda sim, fault: sim.for_a_while(fault, sim.redis.server, "loses", 0.2, 0.0),
    "bus away": lambda sim, fault: sim.for_a_while(fault, sim.kafka.server, "down", True, False),
    "bus loses calls": lambda sim, fault: sim.for_a_while(fault, sim.kafka.server, "loses", 0.2, 0.0),
    "slow partition": slow,
    "retention": retain,
    "compaction": compact,
    "topic made again": again,
}
