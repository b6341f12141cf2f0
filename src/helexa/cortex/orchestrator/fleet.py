"""The fleet's state and the one function that changes it. Pure.

    FleetState.apply(events, now) -> commands      what happened
    FleetState.issue(provisions, now) -> commands  what was decided and is about to be sent
    FleetState.snapshot(now) -> FleetSnapshot      what everybody else sees

Only the control loop holds a FleetState. A neuron's report is the truth about that neuron; what
this cortex asked for is kept beside it, and never instead of it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, get_args

from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.accounts import Accounts
from helexa.cortex.orchestrator.board import Board
from helexa.cortex.orchestrator.commands import (
    AcceptNeuron,
    AskCapabilities,
    Command,
    Outbox,
    Provision,
)
from helexa.cortex.orchestrator.instances import (
    answered,
    expired,
    issued,
    marked,
    reported,
    requests_ended,
    undelivered,
)
from helexa.cortex.orchestrator.ledger import Ledger
from helexa.cortex.orchestrator.liveness import (
    CLOSE_LOST,
    CLOSE_REPLACED,
    PRESENT,
    NeuronState,
    next_deadline_s,
    refuse_takeover,
    state_after_silence,
)
from helexa.cortex.orchestrator.neurons import ABSENT_MAX, Neuron
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Instance
from helexa.cortex.orchestrator.views import next_snapshot
from helexa.cortex.orchestrator.wishes import Wish, Wishes
from helexa.protocol.ids import CommandId, NeuronId
from helexa.protocol.join import CLOSE_NODE_ID_TAKEN
from helexa.protocol.lifecycle import ModelState, is_legal
from helexa.protocol.model import ModelStatus

_ABSENT: Final = Instance()


class FleetState:
    """All that one cortex knows about its neurons and what should run on them.

    `command_prefix` makes command ids unique among runs of cortex: neurons answer a repeated id
    without doing it again.
    """

    def __init__(self, policy: FleetPolicy, command_prefix: str) -> None:
        self._policy = policy
        self._prefix = command_prefix
        self._issued = 0
        self._neurons: dict[NeuronId, Neuron] = {}
        self._absent: dict[NeuronId, None] = {}  # in the order in which they left
        self._wishes = Wishes(policy)
        self._out = Outbox()
        self._ledger = Ledger()
        self._accounts = Accounts()
        self._changed = True  # more than the ledger knows of: every view is made anew
        self._plan_issued = -1
        self._planned_s = 0.0
        self._last = FleetSnapshot(default_models=policy.default_models)
        self._handlers: Final[dict[type, Callable[[Any, float], None]]] = {
            ev.NeuronRegistered: self._registered,
            ev.NeuronHeard: self._heard,
            ev.NeuronBeat: self._beat,
            ev.CapabilitiesChanged: self._capabilities,
            ev.ModelReported: self._model_reported,
            ev.HealthReported: self._health,
            ev.CommandAnswered: self._answered,
            ev.CommandUndelivered: self._undelivered,
            ev.NeuronLeaving: self._leaving,
            ev.NeuronGone: self._gone,
            ev.NeuronRestored: self._restored,
            ev.NeuronMarked: self._marked,
            **dict.fromkeys(get_args(Wish), self._wish),
            ev.RequestOutcome: self._request_outcome,
            ev.Tick: self._tick,
        }

    def apply(self, events: Iterable[ev.Event], now: float) -> list[Command]:
        """Take the events in order; return what they ask for. `now` is monotonic seconds."""
        for event in events:
            self._handlers[type(event)](event, now)
        return self._out.taken()

    def plan_is_due(self, now: float) -> bool:
        """Tell whether a reconcile could find anything that the last `issue` did not know."""
        return self.snapshot(now).plan != self._plan_issued

    def issue(self, provisions: Iterable[Provision], now: float) -> list[Provision]:
        """Give each command its id and connection, and remember that it is under way.

        `provisions` are all that follows from the last snapshot, none included.
        """
        self._plan_issued = self._last.plan
        out: list[Provision] = []
        for provision in provisions:
            neuron = self._neurons[provision.neuron_id]
            self._issued += 1
            command_id = CommandId(f"{self._prefix}-{self._issued}")
            instance = neuron.instances.get(provision.model_id, _ABSENT)
            timeout_s = self._policy.command_timeout_s
            newcomer = provision.makes_room_for
            configured = provision.model_id in self._wishes.configured
            instance = issued(instance, command_id, provision.command, now, timeout_s, newcomer)
            neuron.put(provision.model_id, marked(instance, configured=configured))
            out.append(replace(provision, command_id=command_id, connection=neuron.connection))
        return out

    def snapshot(self, now: float) -> FleetSnapshot:
        """Return the fleet as of now; the last snapshot itself where nothing has changed."""
        if self._changed or self._ledger:
            everything, self._changed = self._changed, False
            if everything or self._ledger.plan:
                self._planned_s = now
            fleet = self._neurons, self._wishes, self._ledger, self._accounts
            self._last = next_snapshot(self._last, *fleet, now, everything=everything)
        return self._last

    def board(self, now: float) -> Board:
        """Return the board of `snapshot(now)`, kept from plan to plan; good until anything changes.

        What is booked on it is forgotten with the next one.
        """
        last = self.snapshot(now)
        self._accounts.update(last.neurons, now)
        return Board(self._accounts, last.desired, last.outlook, now)

    def memory(self, now: float, wall_s: float) -> DemandMemory:
        """Return what was learned, as it is kept over a restart; `wall_s` is Unix time."""
        return self._wishes.memory(now, wall_s)

    def next_deadline_s(self) -> float | None:
        """Return when silence would next change a neuron's state."""
        oldest_s: dict[NeuronState, float] = {}
        for neuron in self._neurons.values():
            if neuron.heard_s < oldest_s.get(neuron.state, math.inf):
                oldest_s[neuron.state] = neuron.heard_s
        times = [next_deadline_s(*each, self._policy.liveness) for each in oldest_s.items()]
        return min((t for t in times if t is not None), default=None)

    # ── presence ──────────────────────────────────────────────────────────────────────────────

    def _registered(self, event: ev.NeuronRegistered, now: float) -> None:
        register = event.register
        neuron_id = register.neuron.id
        known = self._neurons.get(neuron_id)
        if known is not None:
            because = refuse_takeover(
                known.holder(), register.neuron.epoch, now, self._policy.liveness
            )
            if because is not None:
                known.conflicts += 1
                known.touch()
                self._out.remark("neuron_refused", "warning", neuron_id, because=because)
                self._out.close(event.connection, CLOSE_NODE_ID_TAKEN, because)
                return
            if known.state in PRESENT:
                if known.descriptor.epoch != register.neuron.epoch:
                    known.taken_over_s = now
                self._out.close(known.connection, CLOSE_REPLACED, "this neuron connected anew")
        neuron = Neuron.registered(event.connection, register, now, self._ledger)
        if known is not None:
            neuron.inherit(known)
        self._neurons[neuron_id] = neuron
        self._absent.pop(neuron_id, None)
        self._report_all(neuron, register.models, now, fresh=True)
        neuron.turn()
        self._out.put(AcceptNeuron(event.connection, neuron_id))
        self._out.remark("neuron_registered", "info", neuron_id)

    def _heard(self, event: ev.NeuronHeard, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is not None:
            self._alive(neuron, event.heard_s, now)

    def _alive(self, neuron: Neuron, heard_s: float, now: float) -> None:
        neuron.heard_s = max(neuron.heard_s, heard_s)
        if neuron.state is NeuronState.SUSPECT and self._fits_state(neuron, now):
            self._enter(neuron, NeuronState.CONNECTED, now)
            self._out.remark("neuron_heard_again", "info", neuron.descriptor.id)

    def _fits_state(self, neuron: Neuron, now: float) -> bool:
        silence_s, policy = now - neuron.heard_s, self._policy.liveness
        return state_after_silence(neuron.state, silence_s, policy) is NeuronState.CONNECTED

    def _leaving(self, event: ev.NeuronLeaving, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is not None:
            self._enter(neuron, NeuronState.LEAVING, now)
            self._out.remark("neuron_leaving", "info", neuron.descriptor.id, because=event.reason)

    def _gone(self, event: ev.NeuronGone, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is not None:
            self._lose(neuron, now, event.reason)

    def _lose(self, neuron: Neuron, now: float, because: str) -> None:
        self._enter(neuron, NeuronState.GONE, now)
        self._absent[neuron.descriptor.id] = None
        while len(self._absent) > ABSENT_MAX:  # names made up one after another must not pile up
            self._forget(min(self._absent, key=lambda key: self._neurons[key].cordoned))
        neuron.cut_off()
        self._out.remark("neuron_gone", "warning", neuron.descriptor.id, because=because)

    def _restored(self, event: ev.NeuronRestored, now: float) -> None:
        if event.neuron.id in self._neurons:
            return
        neuron = Neuron.restored(event, now, self._ledger)
        self._neurons[event.neuron.id] = neuron
        self._absent[event.neuron.id] = None
        for status in event.models:  # what is owned and was not up is not listed, and still ours
            self._report(neuron, status, now, fresh=True)
        neuron.turn()

    def _marked(self, event: ev.NeuronMarked, _now: float) -> None:
        neuron = self._neurons.get(event.neuron_id)
        if neuron is not None and (mark := neuron.mark(event)):
            self._out.remark(f"neuron_{mark}", "info", event.neuron_id, because=event.cause)

    def _tick(self, _event: ev.Tick, now: float) -> None:
        liveness = self._policy.liveness
        waits = False
        for neuron in list(self._neurons.values()):
            fresh = now - neuron.heard_s < liveness.suspect_after_s
            if fresh and neuron.state is NeuronState.CONNECTED and not neuron.waiting:
                continue
            self._pass_time(neuron, now)
            # Waits after failures end by time alone, and are shown as of a moment.
            waits = waits or neuron.waits(self._planned_s)
        if self._wishes.tick(self._last.models, self._last.neurons, now) or waits:
            self._ledger.plan = True

    def _pass_time(self, neuron: Neuron, now: float) -> None:
        neuron_id, liveness = neuron.descriptor.id, self._policy.liveness
        if neuron.state not in PRESENT:
            if neuron.is_forgotten(now, liveness.forgotten_after_s):
                self._forget(neuron_id)
                self._out.remark("neuron_forgotten", "info", neuron_id)
            return
        state = state_after_silence(neuron.state, now - neuron.heard_s, liveness)
        if state is NeuronState.GONE:
            because = f"silent for {now - neuron.heard_s:.1f} s"
            self._out.close(neuron.connection, CLOSE_LOST, because)
            self._lose(neuron, now, because)
        elif state is not neuron.state:
            self._enter(neuron, state, now)
            self._out.remark("neuron_suspect", "warning", neuron_id)
        for model_id in sorted(neuron.waiting):
            neuron.change(model_id, expired(neuron.instances[model_id], now))

    def _forget(self, neuron_id: NeuronId) -> None:
        neuron = self._neurons.pop(neuron_id)
        self._absent.pop(neuron_id, None)
        neuron.drop_all()

    # ── reports ───────────────────────────────────────────────────────────────────────────────

    def _beat(self, event: ev.NeuronBeat, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is None:
            return
        self._alive(neuron, now, now)
        neuron.health, neuron.load = event.health, event.load
        neuron.touch()
        if event.capabilities_generation not in {0, neuron.capabilities.generation}:
            self._out.put(AskCapabilities(event.connection, event.neuron_id))
        self._report_all(neuron, event.models, now)

    def _capabilities(self, event: ev.CapabilitiesChanged, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is None:
            return
        if neuron.capabilities != event.capabilities:
            neuron.forgive()
        neuron.capabilities = event.capabilities
        neuron.turn()
        self._report_all(neuron, event.models, now)

    def _health(self, event: ev.HealthReported, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is not None:
            self._alive(neuron, now, now)
            neuron.health = event.health
            neuron.touch()

    def _model_reported(self, event: ev.ModelReported, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is not None:
            self._report(neuron, event.status, now, fresh=False)

    def _report_all(
        self, neuron: Neuron, statuses: tuple[ModelStatus, ...], now: float, *, fresh: bool = False
    ) -> None:
        for status in statuses:
            self._report(neuron, status, now, fresh=fresh)
        for model_id in sorted(neuron.instances.keys() - {s.model_id for s in statuses}):
            instance = neuron.instances[model_id]
            waits = instance.refusals or instance.not_before_s > now
            if instance.pending is None and not waits:
                neuron.drop(model_id)
            elif instance.status is not None or instance.known_digest:
                # It has no config of it either: a load alone would be refused for ever.
                bare = replace(instance, status=None, owned=False, lent=False, known_digest="")
                neuron.change(model_id, bare)

    def _report(self, neuron: Neuron, status: ModelStatus, now: float, *, fresh: bool) -> None:
        if not neuron.has_room_for(status.model_id):
            neuron.faults += 1
            return
        before = neuron.instances.get(status.model_id, _ABSENT)
        neuron_id = neuron.descriptor.id
        if not fresh and not is_legal(before.state, status.state):
            neuron.faults += 1
            because = f"{before.state} cannot become {status.state}"
            self._out.remark("illegal_step", "warning", neuron_id, status.model_id, because)
        neuron.change(status.model_id, reported(before, status, now, self._policy))
        if before.state is not status.state:
            level = "warning" if status.state is ModelState.FAILED else "info"
            event = f"model_{status.state}"
            self._out.remark(event, level, neuron_id, status.model_id, status.because)
        after = neuron.instances[status.model_id]
        if not neuron.draining:
            self._wishes.changed(neuron.capabilities.hardware, before, after, now)

    # ── commands ──────────────────────────────────────────────────────────────────────────────

    def _answered(self, event: ev.CommandAnswered, now: float) -> None:
        neuron = self._current(event.neuron_id, event.connection)
        if neuron is None:
            return
        response = event.response
        neuron.answers.append(response)
        neuron.touch()
        instance = neuron.instances.get(response.model_id)
        if instance is not None:
            neuron.put(response.model_id, answered(instance, response, now, self._policy))
        if not response.accepted:
            rule = f" (rule {response.rule})" if response.rule else ""
            because = response.because + rule
            self._out.remark(
                "command_refused", "warning", event.neuron_id, response.model_id, because
            )

    def _undelivered(self, event: ev.CommandUndelivered, now: float) -> None:
        neuron = self._neurons.get(event.neuron_id)
        if neuron is None:
            return
        for model_id in sorted(neuron.waiting):
            instance = neuron.instances[model_id]
            after = undelivered(instance, event.command_id, now, self._policy)
            neuron.change(model_id, after)
        self._out.remark("command_undelivered", "warning", event.neuron_id, because=event.because)

    # ── wishes ────────────────────────────────────────────────────────────────────────────────

    def _wish(self, event: Wish, now: float) -> None:
        if self._wishes.take(event, now, self._last.models):
            self._ledger.wish(plan=not isinstance(event, ev.DemandSampled))

    def _request_outcome(self, event: ev.RequestOutcome, now: float) -> None:
        neuron = self._neurons.get(event.neuron_id)
        instance = neuron.instances.get(event.model_id) if neuron is not None else None
        if neuron is None or instance is None:
            return
        after = requests_ended(instance, ok=event.ok, count=event.count, now=now)
        if after.circuit.state is not instance.circuit.state:
            name, level, because = after.circuit.remark()
            self._out.remark(name, level, event.neuron_id, event.model_id, because)
        neuron.change(event.model_id, after)

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _current(self, neuron_id: NeuronId, connection: int) -> Neuron | None:
        neuron = self._neurons.get(neuron_id)
        if neuron is None or neuron.connection != connection or neuron.state not in PRESENT:
            return None
        return neuron

    def _enter(self, neuron: Neuron, state: NeuronState, now: float) -> None:
        neuron.state, neuron.since_s = state, now
        neuron.turn()
