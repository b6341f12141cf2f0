"""What a large fleet costs its one cortex: `python -m bench.fleet`.

Two parts. *Core*: the control loop's own work (apply, plan, reconcile, snapshot) for made-up
neurons in this process; it is all that a heartbeat costs beyond reading it off the socket, and as
long as one turn takes, requests wait: that is the lag. *Recovery*: a real cortex with a thousand
websocket connections is killed and started again.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench.recovery import Recovery, recover
from bench.run import raise_file_limit
from helexa.cortex.control_plane.loop import BEAT_WAIT_S
from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.protocol.control import Register
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.neuron import (
    Capabilities,
    HardwareReport,
    NeuronDescriptor,
    NeuronHealth,
    NeuronLoad,
)
from helexa.protocol.workload import Workload

MODELS = 100
MODELS_PER_NEURON = 4
HEARTBEAT_S = 5.0
GIB = 1 << 30
BEAT_GOAL_MS = 1.0
RECOVERY_GOAL_S = 10.0

CONFIGS = tuple(ModelConfig(id=ModelId(f"m{n:03}"), engine="echo") for n in range(MODELS))
DIGESTS = tuple(config.digest() for config in CONFIGS)
ABLE = ModelCapability(workloads=(Workload.CHAT,), context_tokens=8192, seats=4, memory_bytes=GIB)
HARDWARE = HardwareReport(
    cpu_count=16, memory_total_bytes=64 * GIB, memory_available_bytes=64 * GIB
)


def models_of(number: int) -> list[int]:
    """Return which models a neuron has: all are had by as many."""
    return [(number * MODELS_PER_NEURON + k) % MODELS for k in range(MODELS_PER_NEURON)]


def replicas_of_each(neurons: int) -> int:
    """Return how many replicas each model has, and should have: nothing is to be moved."""
    return neurons * MODELS_PER_NEURON // MODELS


def statuses(
    number: int, state: ModelState = ModelState.LOADED, *, active: int = 0, whole: bool = False
) -> tuple[ModelStatus, ...]:
    """Return what a neuron says of its models; the first is in `state`."""
    return tuple(
        ModelStatus(
            model_id=CONFIGS[m].id,
            state=state if place == 0 else ModelState.LOADED,
            config_digest=DIGESTS[m],
            capability=ABLE,
            config=CONFIGS[m] if whole else None,
            active_requests=active,
        )
        for place, m in enumerate(models_of(number))
    )


def register(number: int) -> Register:
    """Return a neuron's first message."""
    return Register(
        version_min=1,
        version_max=1,
        neuron=NeuronDescriptor(id=NeuronId(f"n{number:05}"), epoch=1),
        capabilities=Capabilities(
            hardware=HARDWARE, engines=("echo",), memory_budget_bytes=16 * GIB
        ),
        models=statuses(number, whole=True),
    )


def beat(number: int, state: ModelState = ModelState.LOADED, *, active: int = 0) -> ev.NeuronBeat:
    """Return a heartbeat."""
    load = NeuronLoad(active_requests=active)
    models = statuses(number, state, active=active)
    return ev.NeuronBeat(NeuronId(f"n{number:05}"), number + 1, NeuronHealth(), load, models)


@dataclass
class Turns:
    """CPU seconds of each turn, and how many events they took."""

    events: int = 0
    seconds: list[float] = field(default_factory=list)

    def line(self, what: str) -> str:
        """Return a row of the table."""
        total_s = sum(self.seconds)
        return (
            f"  {what:<46}{total_s / max(self.events, 1) * 1e6:>9.0f}"
            f"{statistics.median(self.seconds) * 1e3:>10.2f}{max(self.seconds) * 1e3:>10.2f}"
        )


class Fleet:
    """A fleet's state, driven as the control loop drives it."""

    def __init__(self, neurons: int) -> None:
        self.neurons = neurons
        self.now = 0.0
        self.state = FleetState(FleetPolicy(), "bench")

    def desire(self) -> float:
        """Say what should run, which is what does; return the CPU seconds of the first plan."""
        each = ModelRules(*[replicas_of_each(self.neurons)] * 2)
        rules = dict.fromkeys((config.id for config in CONFIGS), each)
        return self.turn([ev.DesiredChanged(models=CONFIGS, rules=rules, cause="bench")])

    def turn(self, events: Iterable[ev.Event]) -> float:
        """Do what one turn of the loop does; return its CPU seconds."""
        batch, state = list(events), self.state
        started_s = time.thread_time()
        state.apply(batch, self.now)
        if state.plan_is_due(self.now):
            board = state.board(self.now)
            state.issue(reconcile(state.snapshot(self.now), self.now, board), self.now)
        state.snapshot(self.now)
        return time.thread_time() - started_s

    def turns(self, batches: Iterable[list[ev.Event]], step_s: float = 0.0) -> Turns:
        """Work batches off, one turn each."""
        turns = Turns()
        for batch in batches:
            self.now += step_s
            turns.events += len(batch)
            turns.seconds.append(self.turn(batch))
        return turns

    def heard(self) -> list[ev.Event]:
        """Return that every neuron was heard just now, as the server tells before a tick."""
        return [ev.NeuronHeard(NeuronId(f"n{n:05}"), n + 1, self.now) for n in range(self.neurons)]


def batches(
    numbers: Iterable[int], size: int, event: Callable[[int], ev.Event]
) -> Iterable[list[ev.Event]]:
    """Yield events of so many neurons at a time."""
    batch: list[ev.Event] = []
    for number in numbers:
        batch.append(event(number))
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def measure_core(count: int) -> float:
    """Print what the control loop does for `count` neurons; return ms of a lone heartbeat."""
    fleet = Fleet(count)
    every, some = range(count), range(0, count, max(count // 200, 1))
    company = max(1, int(count / HEARTBEAT_S * BEAT_WAIT_S))
    print(f"{count} neurons, {MODELS} models, {MODELS_PER_NEURON} on each")
    print(f"  {'':<46}{'µs/event':>9}{'ms/turn':>10}{'longest':>10}")
    joined = fleet.turns(
        batches(every, 64, lambda n: ev.NeuronRegistered(n + 1, register(n))), 0.01
    )
    print(joined.line("register, 64 a turn"))
    print(Turns(1, [fleet.desire()]).line("what should run is told: the first plan"))
    fleet.turns([fleet.heard()])
    alone = fleet.turns(batches(some, 1, beat))
    print(alone.line("heartbeat alone, nothing new"))
    loaded = fleet.turns(batches(some, 1, lambda n: beat(n, active=1)))
    print(loaded.line("heartbeat alone, other request counts"))
    together = fleet.turns(batches(every, company, lambda n: beat(n, active=2)))
    print(together.line(f"heartbeats of {BEAT_WAIT_S * 1e3:.0f} ms together ({company} a turn)"))
    ticks = fleet.turns(([*fleet.heard(), ev.Tick()] for _ in range(10)), 1.0)
    ticks.events = len(ticks.seconds)
    print(ticks.line("tick, once a second, all heard"))
    failed = fleet.turns(batches(list(some)[:20], 1, lambda n: beat(n, ModelState.FAILED)))
    print(failed.line("a model fails on one neuron: a new plan"))
    gone = fleet.turns(
        batches(
            list(some)[:20],
            1,
            lambda n: ev.NeuronGone(NeuronId(f"n{n:05}"), n + 1, "closed"),
        )
    )
    print(gone.line("a neuron is gone: a new plan"))
    beats_share = together.seconds and sum(together.seconds) / HEARTBEAT_S
    print(
        f"  in all: {(beats_share + statistics.median(ticks.seconds)) * 100:.1f} % of one core "
        "for heartbeats and ticks, while nothing else happens\n"
    )
    return statistics.median([*alone.seconds, *loaded.seconds]) * 1e3


def tell_recovery(found: Recovery) -> None:
    """Print how a real cortex came back."""
    print(
        f"cortex with {found.neurons} neurons on loopback, {found.models} models on "
        f"{MODELS_PER_NEURON} each\n"
        f"  first start: all known and routable after {found.first_s:.2f} s\n"
        f"  killed and started again: after {found.again_s:.2f} s, of which {found.start_s:.2f} s "
        f"until its first answer; {found.cpu_s:.2f} s of CPU, {found.rss_mib:.0f} MiB\n"
        f"  commands that it sent after coming back: {found.commands} (0: nothing is loaded anew)\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, compare with the goals; the goals do not fail the run."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--neurons", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--recovery", type=int, default=1000, help="neurons; 0 leaves it out")
    options = parser.parse_args(arguments)
    alone_ms = {count: measure_core(count) for count in options.neurons}
    for count, taken_ms in alone_ms.items():
        met = "" if count > 1000 else f", goal {BEAT_GOAL_MS:g}: {_met(taken_ms <= BEAT_GOAL_MS)}"
        print(f"a heartbeat among {count} costs {taken_ms:.3f} ms{met}")
    if options.recovery:
        raise_file_limit()
        with tempfile.TemporaryDirectory(prefix="helexa-bench-") as directory:
            registers = [register(number) for number in range(options.recovery)]
            each = replicas_of_each(options.recovery)
            found = recover(registers, [c.id for c in CONFIGS], each, Path(directory))
        tell_recovery(found)
        met = _met(found.again_s <= RECOVERY_GOAL_S)
        print(f"recovery took {found.again_s:.2f} s, goal {RECOVERY_GOAL_S:g}: {met}")
    return 0


def _met(yes: bool) -> str:
    return "met" if yes else "not met"


if __name__ == "__main__":
    sys.exit(main())
