"""The simulated world (R2.35): one seed, many neurons, traffic and faults, and the real cores.

    outcome = run(plan)      raises InvariantError where something that must hold does not

It lives in three parts: faults and traffic; then peace, in which what should run must come to run
within a bound; then quiet, in which nothing may be asked of any neuron any more.
"""

import random
from dataclasses import dataclass, field
from typing import Final

from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.forecast import DAYS_MIN, NEVER, with_day
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import DemandMemory, RememberedModel
from helexa.cortex.orchestrator.rules import ModelRules, Priority, ProvisioningPolicy
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from tests.fakes.engines import GIB
from tests.sim.callers import Callers
from tests.sim.clockwork import Clockwork
from tests.sim.cortex import SimCortex
from tests.sim.faults import Fault, Plan
from tests.sim.link import Link, Wire
from tests.sim.neuron import SimNeuron
from tests.sim.watch import InvariantError, Watch

CONVERGED_WITHIN_S: Final = 700.0
"""Crash loops rest for 300 s, and waits after failures grow to as much."""
QUIET_S: Final = 40.0
SILENT_WITHIN_S: Final = 500.0
"""Without traffic, idle replicas leave after their cooldowns, and others take their room."""


@dataclass(frozen=True)
class Shape:
    """How large a world is."""

    neurons: int
    models: int
    per_second: float
    """Requests for each model."""


@dataclass
class Outcome:
    """What a run looked like."""

    simulated_s: float
    converged_s: float
    events: int
    turns: int
    steps: int
    requests: dict[str, int] = field(default_factory=dict)
    starts: int = 0


class SimWorld:
    """Neurons, their wires, one cortex and its callers."""

    def __init__(self, seed: int, shape: Shape | None = None) -> None:
        dice = random.Random(f"shape {seed}")
        self.clock = Clockwork(seed)
        self.shape = shape or Shape(dice.randrange(1, 7), dice.randrange(1, 6), 0.15)
        self.models = tuple(_model(dice, number) for number in range(self.shape.models))
        self.chat_models = {m.id for m in self.models if m.options.get("kind") != "embed"}
        self.date_s = 0.0
        """The clock on the wall, less the world's own time: it jumps at will."""
        self.unwanted: set[ModelId] = set()
        self.lost: set[str] = set()
        self.watch = Watch(self)
        self.callers = Callers(self, seed)
        self.rules = {m.id: _rules(dice) for m in self.models} if seed % 2 else {}
        knobs = ProvisioningPolicy(scale_up_after_s=5.0, cooldown_s=dice.choice((30.0, 120.0)))
        self.cortex = SimCortex(self, self.models, self.rules, FleetPolicy(provisioning=knobs))
        self.neurons = [self._neuron(dice, number) for number in range(self.shape.neurons)]
        for neuron in self.neurons:
            self.clock.after(dice.random() * 3, neuron.start)
        for model in self.models:
            self.callers.begin(model.id, self.shape.per_second)

    def _neuron(self, dice: random.Random, number: int) -> SimNeuron:
        return SimNeuron(
            self,
            f"n{number}",
            Wire(latency_s=dice.choice((0.001, 0.01, 0.05, 0.2))),
            budget_bytes=dice.choice((2, 4, 6, 8)) * GIB,
            engines=("sim", "rare") if number % 3 == 0 else ("sim",),
            clock_zero_s=dice.random() * 1e6,
            clock_rate=dice.uniform(0.98, 1.02),
        )

    def expect(self, seed: int) -> None:
        """Let each model be regularly wanted before an hour that ends soon, or after, or never."""
        dice = random.Random(f"habits {seed}")
        self.date_s = 9 * 3600.0 - dice.uniform(5.0, 90.0)
        kept = []
        for config in self.models:
            profile = NEVER
            for hour in dice.choice(((), (8,), (9,), (8, 9))):
                level = dice.choice((1, 1, 3, 12))
                for _ in range(DAYS_MIN):
                    profile = with_day(profile, hour, level)
            kept.append(RememberedModel(model_id=config.id, profile=profile, idle_s=3600.0))
        self.cortex.report(ev.DemandRestored(DemandMemory(models=tuple(kept))))

    def local_s(self) -> float:
        """Return what the clock on the wall says: seconds since 1970-01-01 00:00, a Thursday."""
        return self.date_s + self.clock.now

    def dial(self, neuron: SimNeuron) -> Link | None:
        """A neuron tries to connect; None where it does not get through."""
        if not self.cortex.up or self.clock.now < neuron.wire.blocked_until:
            return None
        link = Link(self.clock, self.cortex.number(), neuron, neuron.wire)
        self.cortex.accept(link)
        return link

    # ── faults ────────────────────────────────────────────────────────────────────────────────

    def break_(self, fault: Fault) -> None:
        """Let one thing go wrong; it is put right after its time."""
        neuron = self.neurons[fault.target % len(self.neurons)]
        model = self.models[fault.target % len(self.models)]
        until, wire = self.clock.now + fault.amount_s, neuron.wire
        match fault.kind:
            case "cut":
                if neuron.link is not None:
                    neuron.link.cut()
            case "block":
                wire.blocked_until = until
            case "slow":
                wire.slow_until = until
            case "lossy":
                wire.lossy_until = until
            case "crash_neuron":
                self._stop(neuron, fault.amount_s)
            case "crash_engine":
                if neuron.up:
                    neuron.crash_engine(fault.target)
            case "fail_loads":
                neuron.fail_loads_until = until
            case "slow_loads":
                neuron.slow_loads_until = until
            case "pressure":
                neuron.set_budget(neuron.budget_whole_bytes // 2)
                self.clock.at(until, lambda: neuron.set_budget(neuron.budget_whole_bytes))
            case "restart_cortex":
                if self.cortex.up:
                    self.cortex.die()
                    self.clock.at(until, self.cortex.start)
            case "lose":
                if len(self.lost) < len(self.neurons) - 1:
                    self.lost.add(neuron.id)
                    neuron.die()
            case "leave":
                neuron.leave()
                self.clock.after(3.5 + fault.amount_s, self._revive, neuron)
            case "burst":
                for _ in range(20):
                    self.callers.ask(model.id)
            case "spec":
                self.unwanted.add(model.id)
                self._want()
                if fault.amount_s <= 20.0:
                    self.clock.at(until, self._want_again, model.id)
            case "stall":
                self.cortex.stall(min(fault.amount_s, 12.0))
            case _:
                raise ValueError(f"no fault is called {fault.kind!r}")

    def _stop(self, neuron: SimNeuron, seconds: float) -> None:
        if neuron.up:
            neuron.die()
            self.clock.after(seconds, self._revive, neuron)

    def _revive(self, neuron: SimNeuron) -> None:
        if not neuron.up and neuron.id not in self.lost:
            neuron.start()

    def _want(self) -> None:
        self.cortex.want(tuple(m for m in self.models if m.id not in self.unwanted))

    def _want_again(self, model_id: ModelId) -> None:
        self.unwanted.discard(model_id)
        self._want()

    # ── how it should end ─────────────────────────────────────────────────────────────────────

    def unfinished(self) -> str:
        """Say what is not yet as it should be; empty when all is.

        Each model has as many replicas as it should have now, or there is nowhere for one more:
        no neuron that allows its engine and has none of it has enough memory left.
        """
        snapshot = self.cortex.snapshot
        for model in self.models:
            serving = [n for n in self.neurons if self._serves(n, model.id)]
            view, desired = snapshot.models.get(model.id), snapshot.desired.get(model.id)
            if len(serving) != (len(view.replicas) if view is not None else 0):
                return f"{model.id} is loaded on {serving}, and cortex does not know"
            wanted = desired.replicas if desired is not None else 0
            kept = {(neuron.id, model.id) for neuron in serving} <= self.cortex.forgotten
            if len(serving) > wanted and not (desired is None and kept):
                return f"{model.id} has {len(serving)} replicas and should have {wanted}"
            if len(serving) >= wanted:
                continue
            need = int(float(model.options["memory_gib"]) * GIB)
            for neuron in self.neurons:
                free = neuron.budget_bytes - sum(neuron.engine_bytes.values())
                able = neuron.up and neuron not in serving and model.engine in neuron.engines
                if able and need <= free:
                    return f"{model.id} has too few replicas, and {neuron.id} has {free} bytes free"
        return ""

    @staticmethod
    def _serves(neuron: SimNeuron, model_id: ModelId) -> bool:
        return neuron.up and neuron.state.running(model_id) is not None

    def busy(self) -> bool:
        """Tell whether anything is on its way somewhere."""
        return any(
            status.state in {ModelState.LOADING, ModelState.UNLOADING}
            for neuron in self.neurons
            if neuron.up
            for status in neuron.state.statuses(neuron.local_s())
        )


def _rules(dice: random.Random) -> ModelRules:
    """Return what an operator might ask of a model; half of the worlds are plain."""
    least = dice.choice((0, 0, 1, 1, 2))
    return ModelRules(
        min_replicas=least,
        max_replicas=dice.choice((max(least, 1), least + 1, None)),
        guaranteed=dice.random() < 0.3,
        priority=dice.choice(tuple(Priority)),
        keep_alive_s=dice.choice((None, 15.0, 60.0)) if least == 0 else None,
        pinned=dice.random() < 0.1,
    )


def _model(dice: random.Random, number: int) -> ModelConfig:
    return ModelConfig(
        id=ModelId(f"m{number}"),
        engine="rare" if dice.random() < 0.15 else "sim",
        options={
            "memory_gib": dice.choice((0.5, 1, 1.5, 2, 3)),
            "seats": dice.choice((1, 2, 4)),
            "kind": "embed" if number % 4 == 3 else "chat",
        },
    )


def run(plan: Plan, shape: Shape | None = None, *, habits: bool = False) -> Outcome:
    """Live through a plan and look at every rule; return what it was like.

    With `habits`, models are regularly wanted at the hour that ends meanwhile, and the next.
    """
    world = SimWorld(plan.seed, shape)
    if habits:
        world.expect(plan.seed)
    clock, watch = world.clock, world.watch
    for fault in plan.faults:
        clock.at(fault.at_s, world.break_, fault)
    end = plan.ends_s + plan.calm_s
    while clock.now < end:
        clock.run_until(min(clock.now + 5.0, end))
        watch.check_bounds()
    world.callers.stopped = True
    peace = clock.now
    while (why := world.unfinished()) or world.busy() or world.callers.open:
        if clock.now - peace > CONVERGED_WITHIN_S:
            watch.fail("desired becomes actual", why or f"open: {list(world.callers.open)[:5]}")
        clock.run_until(clock.now + 1.0)
        watch.check_bounds()
    converged_s = clock.now - peace
    check_quiet(world)
    for ask in world.callers.asks.values():
        watch.check_answer(ask)
    watch.check_flapping(plan)
    outcome = Outcome(clock.now, converged_s, clock.events, world.cortex.turns, watch.steps)
    outcome.requests = world.callers.outcomes
    outcome.starts = sum(watch.starts.values())
    return outcome


def check_quiet(world: SimWorld) -> None:
    """Soon nothing is asked any more, and nothing is left over."""
    watch, pipeline, clock = world.watch, world.cortex.pipeline, world.clock
    limit_s, asked = clock.now + SILENT_WITHIN_S, -1
    while asked != len(world.cortex.provisions):
        if clock.now > limit_s:
            told = [f"{p.cause} {p.command}" for _, p in world.cortex.provisions[-4:]]
            watch.fail("converged is silent", f"after {SILENT_WITHIN_S:g} s: {told}")
        asked = len(world.cortex.provisions)
        clock.run_until(clock.now + QUIET_S)
    if why := world.unfinished():
        watch.fail("desired becomes actual", f"in the end {why}")
    if pipeline.inflight.total or len(pipeline) or pipeline.held:
        watch.fail("nothing is left over", f"{pipeline.inflight.total} in flight, no caller")
    for neuron in world.neurons:
        if neuron.jobs or any(a.active or a.waiting for a in neuron.seats.values()):
            watch.fail("nothing is left over", f"{neuron.id} works for nobody: {neuron.jobs}")


__all__ = ["InvariantError", "Outcome", "Plan", "Shape", "SimWorld", "run"]
