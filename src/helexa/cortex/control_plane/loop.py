"""The one writer of the fleet: events in, a batch at a time; commands and one snapshot out.

    report(event) → queue → [apply the batch → reconcile once → dispatch → publish] → subscribers

A batch is what arrived within one turn of the event loop; heartbeats, which rarely say anything
new, wait a moment for company. Whoever reports never waits. The queue is bounded: past `QUEUE_MAX`
older heartbeats give way to newer ones of the same neuron, and where even that does not help, the
batch is worked off on the spot; nothing else is ever dropped.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from helexa.cortex.orchestrator.commands import Command
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.events import (
    CommandAnswered,
    DemandSampled,
    Event,
    NeuronBeat,
    NeuronHeard,
    RequestOutcome,
    Tick,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.cortex.orchestrator.snapshot import EMPTY, FleetSnapshot
from helexa.protocol.control import ProvisioningResponse
from helexa.protocol.ids import ModelId, NeuronId
from helexa.util.errors import describe
from helexa.util.metrics import Metrics

QUEUE_MAX: Final = 4096
TICK_S: Final = 1.0
BEAT_WAIT_S: Final = 0.05
"""A heartbeat is applied within this time, with those of other neurons: a thousand neurons cost
twenty turns a second, and not two hundred."""
STEPS_MAX: Final = 8
"""Batches in one turn: dispatching can report failures, which are the next batch."""
RECONCILE_S: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
Subscriber = Callable[[FleetSnapshot], None]


class ControlLoop:
    """Owns the fleet's state. `connect` gives it its hands before it is started.

    `monotonic` returns seconds, `local` those of the clock on the wall (`SystemClock.local`);
    `command_prefix` is unique for each run of cortex.
    """

    def __init__(
        self,
        policy: FleetPolicy,
        *,
        command_prefix: str,
        monotonic: Callable[[], float],
        local: Callable[[], float],
        metrics: Metrics,
        logger: Any,
    ) -> None:
        self._fleet = FleetState(policy, command_prefix)
        self._monotonic = monotonic
        self._local = local
        self._logger = logger
        self._queue: list[Event] = []
        self._succeeded: dict[tuple[NeuronId, ModelId], RequestOutcome] = {}
        self._snapshot = EMPTY
        self._subscribers: list[Subscriber] = []
        self._dispatch: Callable[[list[Command]], None] = _nowhere
        self._answered: Callable[[ProvisioningResponse], None] = _nowhere
        self._heard: Callable[[], list[NeuronHeard]] = list
        self._demand: Callable[[], tuple[DemandSample, ...]] = tuple
        self._turn_due: asyncio.Handle | None = None
        self._turn_has_time = False
        """The turn that is due is one for heartbeats alone, which wait for each other a little."""
        self._timer: asyncio.TimerHandle | None = None
        self._working = False
        self._reconcile_time = metrics.histogram(
            "helexa_reconcile_duration_seconds",
            "Time of one turn of the control loop",
            RECONCILE_S,
        )
        self._errors = metrics.counter(
            "helexa_reconcile_errors_total", "Turns of the control loop that failed"
        )
        self._merged = metrics.counter(
            "helexa_control_events_merged_total", "Heartbeats replaced by newer ones in the queue"
        )

    def connect(
        self,
        dispatch: Callable[[list[Command]], None],
        answered: Callable[[ProvisioningResponse], None],
        heard: Callable[[], list[NeuronHeard]],
        demand: Callable[[], tuple[DemandSample, ...]] = tuple,
    ) -> None:
        """Set where commands and answers go, who knows when each neuron was last heard, and who
        knows what was asked of each model since it was last asked."""
        self._dispatch, self._answered, self._heard = dispatch, answered, heard
        self._demand = demand

    def snapshot(self) -> FleetSnapshot:
        """Return the last published snapshot."""
        return self._snapshot

    def learned(self, wall_s: float) -> DemandMemory:
        """Return what was learned so far, as it is kept over a restart; `wall_s` is Unix time."""
        return self._fleet.memory(self._monotonic(), wall_s)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` after each publication; the returned function ends that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def report(self, event: Event) -> None:
        """Take an event. Never waits, never raises; it is applied within this loop turn."""
        if isinstance(event, RequestOutcome) and event.ok:
            # One per request, and only their number matters: no turn of its own.
            key = (event.neuron_id, event.model_id)
            before = self._succeeded.get(key)
            if before is not None:
                event = replace(event, count=before.count + event.count)
            self._succeeded[key] = event
            return
        self._queue.append(event)
        if len(self._queue) >= QUEUE_MAX:
            self._relieve()
        if self._working:
            return
        if not isinstance(event, NeuronBeat):
            self._turn_soon()
        elif self._turn_due is None:
            self._turn_due = asyncio.get_running_loop().call_later(BEAT_WAIT_S, self._turn)
            self._turn_has_time = True

    def start(self) -> None:
        """Begin to tick; needs a running event loop. The date is known before the first neuron."""
        self.report(DemandSampled((), self._local()))
        self._schedule_tick()

    def close(self) -> None:
        """Work off what is queued and stop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            self._turn()
        if self._turn_due is not None:
            self._turn_due.cancel()
            self._turn_due = None

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _turn_soon(self) -> None:
        if self._turn_due is not None and self._turn_has_time:
            self._turn_due.cancel()
            self._turn_due = None
        if self._turn_due is None:
            self._turn_due = asyncio.get_running_loop().call_soon(self._turn)
            self._turn_has_time = False

    def _turn(self) -> None:
        """Work off all that is queued, then publish once."""
        if self._turn_due is not None:
            self._turn_due.cancel()
            self._turn_due = None
        self._working = True
        started_s = self._monotonic()
        self._guarded(self._work_off)
        self._working = False
        if self._queue:
            self._turn_soon()
        self._reconcile_time.observe(self._monotonic() - started_s)
        self._guarded(self._publish)

    def _work_off(self) -> None:
        for _ in range(STEPS_MAX):
            if not self._queue:
                break
            batch, self._queue = self._queue, []
            self._step(batch)

    def _guarded(self, work: Callable[[], None]) -> None:
        """A bug must not end the fleet's only writer; heartbeats repair what was lost."""
        try:
            work()
        except Exception as error:
            self._errors.inc()
            self._logger.exception("control_turn_failed", error=describe(error))

    def _step(self, batch: list[Event]) -> None:
        now = self._monotonic()
        if self._succeeded:
            batch = [*self._succeeded.values(), *batch]
            self._succeeded = {}
        self._dispatch(self._fleet.apply(batch, now))
        if self._fleet.plan_is_due(now):
            provisions = reconcile(self._fleet.snapshot(now), now)
            self._dispatch(list(self._fleet.issue(provisions, now)))
        for event in batch:
            if isinstance(event, CommandAnswered):
                self._answered(event.response)

    def _publish(self) -> None:
        snapshot = self._fleet.snapshot(self._monotonic())
        if snapshot is self._snapshot:
            return
        self._snapshot = snapshot
        for subscriber in list(self._subscribers):
            try:
                subscriber(snapshot)
            except Exception as error:  # one subscriber must not silence the others
                self._logger.exception("subscriber_failed", error=describe(error))

    def _relieve(self) -> None:
        """Keep the queue bounded: the newest heartbeat of each neuron stands for the older ones."""
        newest = {e.connection: e for e in self._queue if isinstance(e, NeuronBeat)}
        kept = [
            e for e in self._queue if not isinstance(e, NeuronBeat) or newest[e.connection] is e
        ]
        self._merged.inc(len(self._queue) - len(kept))
        self._queue = kept
        if len(kept) >= QUEUE_MAX and not self._working:
            self._turn()

    def _schedule_tick(self) -> None:
        """Tick each second, and sooner where a neuron's silence reaches a limit before that."""
        now = self._monotonic()
        due_s = self._fleet.next_deadline_s()
        wait_s = TICK_S if due_s is None else min(TICK_S, max(due_s - now, 0.01))
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._guarded(lambda: self._queue.extend(self._heard()))
        self._guarded(lambda: self._queue.append(DemandSampled(self._demand(), self._local())))
        self._queue.append(Tick())
        self._turn()
        self._schedule_tick()


def _nowhere(_what: object) -> None:
    """Take nothing anywhere: the hands of a loop that is not connected yet."""
