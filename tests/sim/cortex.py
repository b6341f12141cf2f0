"""cortex in the simulated world: the real cores in the order in which the real loop calls them.

What `control_plane.loop`, `session` and `dispatch` do with an event loop is done here by the
world's clock: events wait for a turn, a turn applies, reconciles, dispatches and publishes.
"""

from typing import TYPE_CHECKING, Final

from helexa.cortex.control_plane.inbound import event_of
from helexa.cortex.control_plane.loop import BEAT_WAIT_S, STEPS_MAX, TICK_S
from helexa.cortex.control_plane.memory import events_of, memory_of
from helexa.cortex.gateway.auth import OpenDoor
from helexa.cortex.gateway.demand_meter import DemandMeter
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.metering import Record
from helexa.cortex.gateway.pipeline import Pipeline, Seams
from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.commands import (
    AcceptNeuron,
    AskCapabilities,
    CloseConnection,
    Command,
    Provision,
)
from helexa.cortex.orchestrator.demand import DemandSample
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.control import NeuronMessage, Provisioning, Register
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelConfig
from helexa.protocol.tunnel import StreamHandler
from helexa.protocol.workload import Operation
from tests.fakes.gateway import Settings
from tests.sim.job import LOST, Job, SimStream
from tests.sim.link import Link

if TYPE_CHECKING:
    from tests.sim.world import SimWorld

SWEEP_S: Final = 0.5
MEMORY_S: Final = 5.0


class SimCortex:
    """One run of cortex, and what outlives it (`memory`)."""

    def __init__(
        self,
        world: "SimWorld",
        configs: tuple[ModelConfig, ...],
        rules: dict[ModelId, ModelRules],
        policy: FleetPolicy,
    ) -> None:
        self.world = world
        self.clock = world.clock
        self.configs = configs
        self.rules = rules
        self.policy = policy
        self.runs = 0
        self.turns = 0
        self.provisions: list[tuple[float, Provision]] = []
        self.up = False
        self.stalled_until = 0.0
        self._connections = 0
        self._tickets = 0
        self.remembered: FleetSnapshot | None = None
        self.forgotten: set[tuple[NeuronId, ModelId]] = set()
        """What was its own, and not yet written down when it died: it cannot know, and keeps it."""
        self._learned: tuple[float, DemandMemory] | None = None
        self.start()

    # ── life ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """A new process, with what the last one had written down."""
        self.runs += 1
        self.up = True
        self.started_s = self.clock.now
        self.links: dict[int, Link] = {}
        self._seen: dict[NeuronId, int] = {}
        self.current: dict[NeuronId, Link] = {}
        self._streams: dict[int, dict[SimStream, None]] = {}
        self._queue: list[ev.Event] = []
        self._turn_due_s = float("inf")
        self._working = False
        self._sweeping = False
        self._heard: dict[int, float] = {}
        self.fleet = FleetState(self.policy, f"run{self.runs}")
        self.snapshot = self.fleet.snapshot(self.clock.now)
        seams = Seams(
            snapshot=lambda: self.snapshot,
            report=self.report,
            open_stream=self.open_stream,
            now=lambda: self.clock.now,
            record=self._record,
        )
        self.settings = Settings(
            first_byte_timeout_s=60,
            idle_timeout_s=60,
            hold_for_load_s=30,
            requests_held_max=64,
            requests_in_flight_max=256,
        )
        self.pipeline = Pipeline(seams, OpenDoor(), self.settings)
        self._meter = DemandMeter()
        if self._learned is not None:
            written_s, memory = self._learned
            self.report(ev.DemandRestored(memory, self.clock.now - written_s))
        if self.remembered is not None:
            for event in events_of(memory_of(self.remembered)):
                self.report(event)
        self.want(self.configs)
        self.report(ev.DemandSampled((), self.world.local_s()))
        self.clock.after(TICK_S, self._tick, self.runs)
        self.clock.after(MEMORY_S, self._remember, self.runs)

    def die(self) -> None:
        """The process is killed: every connection ends, callers' and neurons'."""
        self.forgotten |= _owned(self.snapshot) - _owned(self.remembered)
        self.up = False
        for link in list(self.links.values()):
            link.on_close(lambda _link, _because: None)
            link.cut()
        self.world.watch.told.clear()
        self.world.callers.gateway_died()

    def want(self, configs: tuple[ModelConfig, ...]) -> None:
        """What should run is now this."""
        self.configs = configs
        if self.up:
            self.report(ev.DesiredChanged(models=configs, rules=self.rules, cause="config"))

    def stall(self, seconds: float) -> None:
        """The process does not run for a while: everything waits, and then comes at once."""
        self.stalled_until = max(self.stalled_until, self.clock.now + seconds)

    # ── connections ───────────────────────────────────────────────────────────────────────────

    def accept(self, link: Link) -> None:
        """A neuron's connection is open."""
        self.links[link.number] = link
        self._seen[link.neuron.id] = self.links_seen(link.neuron.id) + 1
        self._streams[link.number] = {}
        link.on_close(self._link_closed)

    def number(self) -> int:
        """Return a connection number that was never used."""
        self._connections += 1
        return self._connections

    def arrived(self, link: Link, message: NeuronMessage) -> None:
        """A control message came in."""
        if isinstance(message, Register):
            self.report(ev.NeuronRegistered(link.number, message))
            return
        event = event_of(link.neuron.id, link.number, message)
        if event is not None:
            self.report(event)

    def links_seen(self, neuron_id: NeuronId) -> int:
        """Return how many connections of a neuron this run of cortex has taken."""
        return self._seen.get(neuron_id, 0)

    def _link_closed(self, link: Link, because: str) -> None:
        self.links.pop(link.number, None)
        if self.current.get(link.neuron.id) is link:
            del self.current[link.neuron.id]
        streams = self._streams.pop(link.number, {})
        for stream in list(streams):
            self.world.watch.at_work.discard(stream.job.request_id if stream.job else "")
            stream.deliver("on_reset", LOST)
        self.report(ev.NeuronGone(link.neuron.id, link.number, because))

    def open_stream(
        self, neuron_id: NeuronId, epoch: int, head: bytes, body: bytes, handler: StreamHandler
    ) -> SimStream | None:
        """Send a request to a neuron, for the gateway."""
        link = self.current.get(neuron_id)
        if link is None or link.epoch != epoch or not link.cortex_open:
            return None
        stream = SimStream(link, handler)
        self._tickets += 1
        job = Job(link.neuron, link, stream, head, f"{self.runs}.{self._tickets}")
        self.world.watch.routed(link, job)
        self._streams[link.number][stream] = None
        link.down(job.arrive, control=False)
        return stream

    def take(self, exchange: Exchange, operation: Operation) -> None:
        """Take a request, and look after those that are under way from time to time."""
        self.pipeline.handle(exchange, operation)
        if not self._sweeping:
            self._sweeping = True
            self.clock.after(SWEEP_S, self._sweep, self.runs)

    def forget_stream(self, stream: SimStream) -> None:
        """A stream is over."""
        if stream.job is not None:
            self.world.watch.at_work.discard(stream.job.request_id)
        self._streams.get(stream.link.number, {}).pop(stream, None)

    # ── the loop ──────────────────────────────────────────────────────────────────────────────

    def report(self, event: ev.Event) -> None:
        """Take an event; a turn follows."""
        self._queue.append(event)
        if self._working:
            return
        due_s = self.clock.now + (BEAT_WAIT_S if isinstance(event, ev.NeuronBeat) else 0.0)
        if due_s < self._turn_due_s:
            self._turn_due_s = due_s
            self.clock.at(due_s, self._turn_if_due, self.runs, due_s)

    def _turn_if_due(self, run: int, due_s: float) -> None:
        if run == self.runs and self.up and due_s == self._turn_due_s:
            self._turn()

    def _turn(self) -> None:
        now = self.clock.now
        if now < self.stalled_until:
            self._turn_due_s = self.stalled_until
            self.clock.at(self.stalled_until, self._turn_if_due, self.runs, self._turn_due_s)
            return
        self._turn_due_s = float("inf")
        self.turns += 1
        self._working = True
        for _ in range(STEPS_MAX):
            if not self._queue:
                break
            batch, self._queue = self._queue, []
            self._step(batch, now)
        self._working = False
        if self._queue:
            self._turn_due_s = now
            self.clock.at(now, self._turn_if_due, self.runs, now)
        snapshot = self.fleet.snapshot(now)
        if snapshot is not self.snapshot:
            self.snapshot = snapshot
            self.world.watch.published(snapshot)
            self.pipeline.room.wake()

    def _step(self, batch: list[ev.Event], now: float) -> None:
        watch = self.world.watch
        for event in batch:
            watch.applied(event)
        self._dispatch(self.fleet.apply(batch, now))
        if self.fleet.plan_is_due(now):
            provisions = reconcile(self.fleet.snapshot(now), now, self.fleet.board(now))
            watch.decided(self.fleet.snapshot(now), provisions)
            self._dispatch(list(self.fleet.issue(provisions, now)))

    def _dispatch(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Provision):
                self.provisions.append((self.clock.now, command))
                self.world.watch.sent(command)
                link = self.links.get(command.connection)
                if link is None:
                    because = "its connection is gone"
                    self.report(
                        ev.CommandUndelivered(
                            command.neuron_id, command.connection, command.command_id, because
                        )
                    )
                    continue
                message = Provisioning(command_id=command.command_id, command=command.command)
                link.down(link.neuron.provision, message)
            elif isinstance(command, AcceptNeuron):
                link = self.links.get(command.connection)
                if link is not None:
                    self.current[command.neuron_id] = link
                    link.down(self._welcomed, link, control=False)
            elif isinstance(command, AskCapabilities):
                link = self.links.get(command.connection)
                if link is not None:
                    link.down(link.neuron.tell_capabilities)
            elif isinstance(command, CloseConnection):
                link = self.links.get(command.connection)
                if link is not None:
                    link.close_above(command.because)

    @staticmethod
    def _welcomed(link: Link) -> None:
        link.registered = True

    def _tick(self, run: int) -> None:
        if run != self.runs or not self.up:
            return
        for neuron_id, link in self.current.items():
            if self._heard.get(link.number) != link.heard_s:
                self._heard[link.number] = link.heard_s
                self._queue.append(ev.NeuronHeard(neuron_id, link.number, link.heard_s))
        self._queue.append(ev.DemandSampled(self._demand(), self.world.local_s()))
        self._queue.append(ev.Tick())
        self._turn()
        self.clock.at(max(self.clock.now + TICK_S, self.stalled_until), self._tick, run)

    def _record(self, record: Record) -> None:
        self._meter.record(record)
        self.world.callers.recorded(record)

    def _demand(self) -> tuple[DemandSample, ...]:
        in_flight, waiting = self.pipeline.inflight.by_model(), self.pipeline.waiting()
        return self._meter.samples(in_flight, waiting, self.snapshot.names)

    def _remember(self, run: int) -> None:
        if run == self.runs and self.up:
            self.remembered = self.snapshot
            self._learned = self.clock.now, self.fleet.memory(self.clock.now, self.clock.now)
            self.clock.after(MEMORY_S, self._remember, run)

    def _sweep(self, run: int) -> None:
        if run != self.runs or not self.up:
            return
        self.pipeline.sweep()
        self._sweeping = len(self.pipeline) > 0
        if self._sweeping:
            self.clock.after(SWEEP_S, self._sweep, run)


def _owned(snapshot: FleetSnapshot | None) -> set[tuple[NeuronId, ModelId]]:
    """Return what cortex knows to be its own, and where."""
    return {
        (neuron_id, model_id)
        for neuron_id, view in (snapshot.neurons.items() if snapshot is not None else ())
        for model_id, instance in view.instances.items()
        if instance.owned
    }
