"""What must hold in the simulated world, whatever happens. Looked at with every step.

It keeps its own small ledger of what cortex was told, apart from the product's, so that a bug
there cannot hide itself. Each rule has a name, by which a run is reported.
"""

from collections import Counter
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from helexa.cortex.gateway.metering import Outcome, Record
from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.commands import Provision
from helexa.cortex.orchestrator.liveness import PRESENT, NeuronState
from helexa.cortex.orchestrator.neurons import Neuron
from helexa.cortex.orchestrator.picture import Picture
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, NeuronView
from helexa.cortex.orchestrator.views import names_of, serving_view
from helexa.neuron.registry.admission import QUEUE_MAX, Admission
from helexa.protocol.control import LoadModel, UnloadModel
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus
from tests.sim.callers import Ask
from tests.sim.job import Job
from tests.sim.link import Link

if TYPE_CHECKING:
    from tests.sim.faults import Plan
    from tests.sim.neuron import SimNeuron
    from tests.sim.world import SimWorld

SUSPECT_S: Final = 11.5
"""Ten seconds of silence, a tick, and a turn."""
SAMPLED: Final = 16
"""Of so many snapshots one is compared with one made from scratch, and of as many plans."""
TURN_S: Final = 15.0
"""The shortest keep-alive in these worlds; a model that others wait for has 20 s."""
_SAYING_NOTHING: Final = frozenset({ev.NeuronHeard, ev.DemandSampled, ev.Tick, ev.RequestOutcome})
"""Events that tell nothing of a neuron's models."""
_shown: Final = attrgetter(
    "descriptor", "capabilities", "health", "load", "state", "since_s", "connection", "conflicts",
    "faults", "cordoned", "draining",
)  # fmt: skip
"""What a neuron's record and its view have in common."""
_HOLDING: Final = frozenset({ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING})
_UP: Final = frozenset({ModelState.LOADING, ModelState.LOADED})


class InvariantError(AssertionError):
    """Something that must always hold did not."""

    def __init__(self, rule: str, because: str) -> None:
        super().__init__(f"{rule}: {because}")
        self.rule = rule


@dataclass
class Told:
    """What cortex knows of one neuron, by what was reported on its current connection."""

    connection: int
    epoch: int
    models: dict[ModelId, ModelState] = field(default_factory=dict)
    needs: dict[ModelId, int] = field(default_factory=dict)
    budget_bytes: int = 0
    recovering: dict[ModelId, float] = field(default_factory=dict)
    """Until when the neuron itself is to try again what failed."""


class Watch:
    """Every rule, and the ledger that they go by."""

    def __init__(self, world: "SimWorld") -> None:
        self.world = world
        self.told: dict[NeuronId, Told] = {}
        self._sent: dict[tuple[NeuronId, ModelId], tuple[str, float]] = {}
        """Commands that were not answered, and when they were sent."""
        self._refused: dict[tuple[NeuronId, ModelId], float] = {}
        self._tried: dict[str, set[tuple[NeuronId, int]]] = {}
        self._leaving: set[tuple[NeuronId, ModelId]] = set()
        self.starts: Counter[ModelId] = Counter()
        """Engines that were started, by model."""
        self._ended_s: dict[str, float] = {}
        self.at_work: set[str] = set()
        """Requests that are with a neuron."""
        self.snapshots = 0
        self.plans = 0
        self._scratched: dict[ModelId, tuple[object, ModelView | None]] = {}
        """What each model's view was last made of, from scratch, and that view."""
        self.steps = 0

    def fail(self, rule: str, because: str) -> None:
        """Say which rule was broken, and when."""
        raise InvariantError(rule, f"at {self.world.clock.now:.3f} s: {because}")

    # ── what cortex is told ───────────────────────────────────────────────────────────────────

    def applied(self, event: ev.Event) -> None:
        """An event is about to be applied to the fleet."""
        self.steps += 1
        kind = type(event)
        if kind in _SAYING_NOTHING:
            return
        if kind is ev.NeuronRegistered:
            neuron = event.register.neuron
            known = self.told.get(neuron.id)
            if known is None or neuron.epoch >= known.epoch or not self._is_current(known):
                told = Told(event.connection, neuron.epoch)
                told.budget_bytes = event.register.capabilities.memory_budget_bytes
                self._list(told, event.register.models, whole=True)
                self.told[neuron.id] = told
                self._forget(neuron.id)
            return
        told = self.told.get(getattr(event, "neuron_id", NeuronId("")))
        if told is None or told.connection != getattr(event, "connection", 0):
            return
        if kind is ev.NeuronBeat:
            self._list(told, event.models, whole=True)
        elif kind is ev.ModelReported:
            self._list(told, (event.status,), whole=False)
            self._sent.pop((event.neuron_id, event.status.model_id), None)
        elif kind is ev.CapabilitiesChanged:
            told.budget_bytes = event.capabilities.memory_budget_bytes
            self._list(told, event.models, whole=True)
            self._forget(event.neuron_id)
        elif kind is ev.CommandAnswered:
            key = (event.neuron_id, event.response.model_id)
            sent = self._sent.get(key)
            if sent is not None and sent[0] == event.response.command_id:
                del self._sent[key]
                if not event.response.accepted:
                    self._refused[key] = self.world.clock.now
        elif kind is ev.NeuronGone:
            del self.told[event.neuron_id]
            self._forget(event.neuron_id)

    def _forget(self, neuron_id: NeuronId) -> None:
        for ledger in (self._sent, self._refused):
            for key in [key for key in ledger if key[0] == neuron_id]:
                del ledger[key]

    def sent(self, provision: Provision) -> None:
        """A command leaves; the one before it to the same model was answered, or is given up."""
        key, now = (provision.neuron_id, provision.model_id), self.world.clock.now
        before = self._sent.get(key)
        if before is not None and now - before[1] < 9.0:
            self.fail("one command at a time", f"{provision}, {now - before[1]:.1f} s after one")
        refused_s = self._refused.pop(key, None)
        if refused_s is not None and now - refused_s < 1.9:
            self.fail("what was refused waits", f"{provision}, {now - refused_s:.1f} s after a no")
        self._sent[key] = provision.command_id, now

    def _is_current(self, told: Told) -> bool:
        return told.connection in self.world.cortex.links

    def _list(self, told: Told, statuses: tuple[ModelStatus, ...], *, whole: bool) -> None:
        if whole:
            told.models = {}
            listed = {status.model_id for status in statuses}
            told.needs = {key: need for key, need in told.needs.items() if key in listed}
        for status in statuses:
            told.models[status.model_id] = status.state
            told.recovering.pop(status.model_id, None)
            if status.retry_after_s is not None:
                until_s = self.world.clock.now + status.retry_after_s
                told.recovering[status.model_id] = until_s
            if status.capability is not None and status.capability.memory_bytes is not None:
                told.needs[status.model_id] = status.capability.memory_bytes

    # ── what cortex decides ───────────────────────────────────────────────────────────────────

    def decided(self, snapshot: FleetSnapshot, provisions: list[Provision]) -> None:
        """Commands are about to be issued on this snapshot."""
        self.plans += 1
        now = self.world.clock.now
        if self.plans % SAMPLED == 0 and provisions != reconcile(snapshot, now):
            anew = reconcile(snapshot, now)
            self.fail("a kept board is a new one", f"{provisions} was planned, and not {anew}")
        loads = [p for p in provisions if isinstance(p.command, LoadModel)]
        self._leaving = {
            (p.neuron_id, p.model_id) for p in provisions if isinstance(p.command, UnloadModel)
        }
        asked: Counter[ModelId] = Counter()
        for provision in provisions:
            told = self.told.get(provision.neuron_id)
            if told is None:
                self.fail("commands go to who is there", f"{provision}")
                return
            view = snapshot.neurons[provision.neuron_id].instances.get(provision.model_id)
            if view is not None and view.pending is not None:
                self.fail("one command at a time", f"{provision} while {view.pending}")
        for provision in loads:
            self._check_load(snapshot, provision, asked)
        for neuron_id in {p.neuron_id for p in loads}:
            self._check_booking(snapshot, neuron_id, loads)

    def _check_load(
        self, snapshot: FleetSnapshot, provision: Provision, asked: Counter[ModelId]
    ) -> None:
        model_id, neuron_id = provision.model_id, provision.neuron_id
        if self.told[neuron_id].models.get(model_id) in _UP:
            self.fail("no reload of what is held", f"{model_id} is up on {neuron_id}")
        desired = snapshot.desired.get(model_id)
        if desired is None:
            self.fail("only what is desired is loaded", f"{model_id} on {neuron_id}")
            return
        up = [
            key
            for key, told in self.told.items()
            if (told.models.get(model_id) in _UP or self._recovers(told, model_id))
            and not self._leaves(snapshot, key, model_id)
        ]
        self._check_truth(model_id, desired.replicas - len(up) - asked[model_id])
        asked[model_id] += 1
        if len(up) + asked[model_id] > desired.replicas:
            self.fail("no more replicas than desired", f"{model_id} is up on {up} already")

    def _recovers(self, told: Told, model_id: ModelId) -> bool:
        return told.recovering.get(model_id, 0.0) > self.world.clock.now

    def _check_truth(self, model_id: ModelId, missing: int) -> None:
        """A cortex that has just come back waits for those who had the model."""
        cortex, now = self.world.cortex, self.world.clock.now
        known = cortex.remembered.models.get(model_id) if cortex.remembered is not None else None
        if known is None or cortex.runs == 1 or now - cortex.started_s > REPLACE_AFTER_S - 1.0:
            return
        had = {replica.neuron_id for replica in known.replicas}
        away = [key for key in had - self.told.keys() if cortex.links_seen(key) == 0]
        if len(away) > missing:
            self.fail("no reload of what is held", f"{model_id} was on {away}, not back yet")

    def _leaves(self, snapshot: FleetSnapshot, neuron_id: NeuronId, model_id: ModelId) -> bool:
        """Tell whether a replica was told to go, by now or in this very decision."""
        view = snapshot.neurons[neuron_id].instances.get(model_id)
        pending = view.pending.command if view is not None and view.pending is not None else None
        return isinstance(pending, UnloadModel) or (neuron_id, model_id) in self._leaving

    def _check_booking(
        self, snapshot: FleetSnapshot, neuron_id: NeuronId, loads: list[Provision]
    ) -> None:
        """All that is there, on its way, and asked for now fits into the budget together.

        What nobody has measured yet may be tried anywhere: the neuron looks at it again.
        """
        view, told = snapshot.neurons[neuron_id], self.told[neuron_id]
        coming = {p.model_id for p in loads if p.neuron_id == neuron_id}
        if not any(told.needs.get(key) or self._known_needs().get(key) for key in coming):
            return
        coming |= {
            key
            for key, instance in view.instances.items()
            if instance.pending is not None and isinstance(instance.pending.command, LoadModel)
        }
        coming |= {key for key, state in told.models.items() if state in _HOLDING}
        needs = self._known_needs()
        total = sum(told.needs.get(key, needs.get(key, 0)) for key in coming)
        if total > told.budget_bytes:
            because = f"{sorted(coming)} need {total}, more than {told.budget_bytes}"
            self.fail("memory is booked", f"{neuron_id}: {because}")

    def _known_needs(self) -> dict[ModelId, int]:
        needs: dict[ModelId, int] = {}
        for told in self.told.values():
            for model_id in told.models:
                needs[model_id] = max(needs.get(model_id, 0), told.needs.get(model_id, 0))
        return needs

    def published(self, snapshot: FleetSnapshot) -> None:
        """Callers see this snapshot from now on."""
        self.snapshots += 1
        if self.snapshots % SAMPLED == 0:
            self._check_whole(snapshot)

    def _check_whole(self, part: FleetSnapshot) -> None:
        """A snapshot made of changes is one made from scratch, by what routing goes by."""
        fleet, now = self.world.cortex.fleet, self.world.clock.now
        if fleet.snapshot(now) is not part:
            return
        neurons, parts = fleet._neurons, part.neurons
        if neurons.keys() != parts.keys():
            self.fail("a snapshot is whole", f"it has the neurons {sorted(parts)}")
        for key, neuron in neurons.items():
            if not _pictures(parts[key], neuron):
                self.fail("a snapshot is whole", f"{parts[key]} does not show {neuron}")
        holders: dict[ModelId, list[NeuronId]] = {}
        for neuron_id, neuron in neurons.items():
            for model_id in neuron.instances:
                holders.setdefault(model_id, []).append(neuron_id)
        picture = Picture(part.desired, parts, holders, part.outlook, fleet._accounts, now)
        whole = {key: self._scratch(key, picture) for key in part.desired.keys() | holders.keys()}
        models = {key: view for key, view in whole.items() if view is not None}
        if models.keys() != part.models.keys():
            self.fail("a snapshot is whole", f"{sorted(part.models)} are not {sorted(models)}")
        for key, view in models.items():
            if view.replicas != part.models[key].replicas or view.states != part.models[key].states:
                self.fail("a snapshot is whole", f"{key}: {part.models[key]} is not {view}")
        if names_of(models) != part.names:
            self.fail("a snapshot is whole", "names differ")

    def _scratch(self, model_id: ModelId, picture: Picture) -> ModelView | None:
        """Return a model's view made from scratch, or what was made of the same parts before."""
        where = [
            (view.descriptor, view.connection, view.state, view.draining, instance)
            for view, instance in picture.where(model_id)
        ]
        made_of = picture.desired.get(model_id), picture.outlook.learned.useful, where
        known = self._scratched.get(model_id)
        if known is None or known[0] != made_of:
            known = self._scratched[model_id] = made_of, serving_view(model_id, picture)
        return known[1]

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def routed(self, link: Link, job: Job) -> None:
        """The gateway opens a stream for a request."""
        now, neuron_id = self.world.clock.now, link.neuron.id
        self.at_work.add(job.request_id)
        tried = self._tried.setdefault(job.request_id, set())
        if (neuron_id, link.number) in tried:
            self.fail("a retry goes elsewhere", f"{job.request_id} again to {neuron_id}")
        tried.add((neuron_id, link.number))
        told = self.told.get(neuron_id)
        if told is None or told.connection != link.number:
            self.fail("routed to what is there", f"{neuron_id} is not connected")
            return
        state = told.models.get(job.model_id)
        if state is not ModelState.LOADED:
            self.fail("routed to what can serve", f"{job.model_id} is {state} on {neuron_id}")
        # What came while cortex did not run is read, and counts as heard, when it runs again.
        stalled = self.world.cortex.stalled_until
        if now - max(link.heard_s, stalled) > SUSPECT_S:
            silence_s = now - link.heard_s
            self.fail("routed to who is heard", f"{neuron_id} was silent for {silence_s:.1f} s")
        if job.is_chat != (job.model_id in self.world.chat_models):
            self.fail("routed to what can serve", f"{job.model_id} cannot do this")

    def recorded(self, ask: Ask, record: Record) -> None:
        """The gateway books the end of a request."""
        if ask.record is not None:
            self.fail("a request ends once", f"{ask.request_id}: {ask.record} and {record}")
        self._ended_s[ask.request_id] = self.world.clock.now
        if len(ask.ends) > 1:
            self.fail("a request ends once", f"{ask.request_id}: {ask.ends}")

    def check_answer(self, ask: Ask) -> None:
        """A request is over: it had one end, and nothing was lost or doubled."""
        if ask.exchange is not None and ask.exchange.gone:
            return
        if len(ask.ends) != 1:
            self.fail("a request ends once", f"{ask.request_id} ended {ask.ends or 'not at all'}")
        if ask.model_id not in self.world.chat_models:
            return
        words = ask.words()
        if words != list(range(len(words))):
            self.fail("no word is lost or doubled", f"{ask.request_id} got {words}")
        served = ask.record is not None and ask.record.outcome is Outcome.OK
        size = self.world.callers.size_of(ask.request_id)[0]
        if served and len(words) != size:
            self.fail("no silent truncation", f"{ask.request_id} got {len(words)} of {size}")
        if not served and ask.ends == ["answered"] and words:
            self.fail("no silent truncation", f"{ask.request_id} looks whole and is not")

    def check_bounds(self) -> None:
        """Queues and counts are within their bounds (looked at with each tick)."""
        cortex = self.world.cortex
        if cortex.pipeline.held > cortex.settings.requests_held_max:
            self.fail("queues are bounded", f"{cortex.pipeline.held} requests are held")
        if len(cortex.pipeline) > cortex.settings.requests_in_flight_max:
            self.fail("queues are bounded", f"{len(cortex.pipeline)} requests are in flight")
        for neuron in self.world.neurons:
            for model_id, admission in neuron.seats.items():
                if admission.waiting and admission.active < admission._seats:
                    self.fail("a free seat is taken", f"{model_id} on {neuron.id}")
            self._check_work(neuron)
        self._check_waits(cortex.snapshot)
        hold_s = cortex.settings.hold_for_load_s + cortex.settings.first_byte_timeout_s + 60
        for ask in self.world.callers.open.values():
            if self.world.clock.now - ask.started_s > 2 * hold_s:
                self.fail("a request ends", f"{ask.request_id} is open for too long")

    def _check_work(self, neuron: "SimNeuron") -> None:
        """Nobody works for long for a caller that is gone."""
        now = self.world.clock.now
        if now < max(neuron.wire.blocked_until, neuron.wire.slow_until) + 5.0:
            return
        for job in neuron.jobs.values():
            ended_s = self._ended_s.get(job.request_id)
            if ended_s is not None and now - ended_s > 5.0 and now - job.since_s > 5.0:
                self.fail("work for nobody ends", f"{job.request_id} on {neuron.id}")

    def _check_waits(self, snapshot: FleetSnapshot) -> None:
        """Who could be served is not kept waiting."""
        cortex, now = self.world.cortex, self.world.clock.now
        if now < cortex.stalled_until + 1.0:
            return
        for ask in self.world.callers.open.values():
            if ask.request_id in self.at_work or now - ask.started_s < 3.0:
                continue
            for replica in snapshot.models[ask.model_id].replicas:
                in_flight = cortex.pipeline.inflight.on(replica)
                free = in_flight < replica.capability.seats
                if free and replica.healthy and not replica.suspect:
                    self.fail("nobody waits in vain", f"{ask.request_id}, {replica} is free")

    # ── neurons ───────────────────────────────────────────────────────────────────────────────

    def engine_starts(self, neuron: "SimNeuron", model_id: ModelId) -> None:
        """An engine is about to be started."""
        since_s = self.world.clock.now - neuron.failed_s.get(model_id, float("-inf"))
        if since_s < 0.45:
            because = f"{model_id} on {neuron.id}, {since_s:.2f} s after it failed"
            self.fail("what failed waits", because)

    def engine_started(self, neuron: "SimNeuron") -> None:
        """An engine process was started: all of them fit into the budget of now."""
        self.starts[neuron.loads_begun[-1][1]] += 1
        used = sum(neuron.engine_bytes.values())
        if used > neuron.budget_bytes:
            self.fail("no device is over-committed", f"{neuron.id}: {used} bytes are in use")

    def check_flapping(self, plan: "Plan") -> None:
        """A model is started once, and again for what went wrong; and that is all.

        A neuron that is made to fail tries again by itself, ever more rarely; and where memory is
        short, or idle models leave, each has its turn of `TURN_S`.
        """
        failing_s = sum(f.amount_s for f in plan.faults if f.kind == "fail_loads")
        allowed = 2 + 2 * len(plan.faults) + failing_s / 3 + self.world.clock.now / TURN_S
        for model_id, starts in self.starts.items():
            if starts > allowed:
                because = f"{model_id} was started {starts} times; {allowed:.0f} are enough"
                self.fail("no flapping", because)

    def seats_used(self, neuron: "SimNeuron", admission: Admission) -> None:
        """A request asked for a seat."""
        if admission.waiting > QUEUE_MAX:
            self.fail("queues are bounded", f"{admission.waiting} wait on {neuron.id}")


def _pictures(view: NeuronView, neuron: Neuron) -> bool:
    """Tell whether a view shows its neuron as it is, whatever was noted of its changes.

    When it was last heard is no reason for a new view.
    """
    models = {key: i.state for key, i in neuron.instances.items() if i.status is not None}
    return (
        _shown(view) == _shown(neuron)
        and view.instances == neuron.instances
        and view.models == models
        and view.answers == tuple(neuron.answers)
        and view.connected == (neuron.state in PRESENT)
        and view.suspect == (neuron.state is NeuronState.SUSPECT)
    )
