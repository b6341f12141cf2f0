"""One cortex core and several model neurons in a world of its own time: no clock, no sockets.

Messages travel in order per connection and take time; a connection can break with what it carries;
a message can be lost outright, which a websocket does not do but a peer's bug does.
"""

import heapq
import random
from collections.abc import Callable, Mapping

from helexa.cortex.orchestrator import events as ev
from helexa.cortex.orchestrator.commands import AcceptNeuron, CloseConnection, Provision
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.holding import booked_bytes, needs_of_models
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.control import (
    Heartbeat,
    ModelReport,
    NeuronMessage,
    Provisioning,
    ProvisioningResponse,
)
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelConfig
from tests.fakes.neuron_model import ModelNeuron

HEARTBEAT_S = 5.0


class FleetWorld:
    """`loss` is the share of messages that vanish, either way, until `heal` is called."""

    def __init__(self, seed: int, *, loss: float = 0.0, latency_s: float = 0.2) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.loss = loss
        self.lossless = loss == 0.0
        self.latency_s = latency_s
        self.neurons: dict[str, ModelNeuron] = {}
        self.connections: dict[str, int] = {}
        self.provisions: list[Provision] = []
        self.restarts = 0
        self._connection = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._last_arrival: dict[tuple[str, int], float] = {}
        self._wanted = ev.DesiredChanged(models=())
        self.fleet = FleetState(FleetPolicy(), "w0")
        self.snapshot: FleetSnapshot = self.fleet.snapshot(0.0)
        self._at(1.0, self._tick)

    # ── what a test does ──────────────────────────────────────────────────────────────────────

    def want(
        self,
        *configs: ModelConfig,
        rules: Mapping[str, ModelRules] | None = None,
        policy: ProvisioningPolicy | None = None,
    ) -> None:
        asked = {ModelId(key): each for key, each in (rules or {}).items()}
        self._wanted = ev.DesiredChanged(configs, rules=asked, policy=policy, cause="test")
        self._happen(self._wanted)

    def happen(self, event: ev.Event) -> None:
        self._happen(event)

    def add(self, neuron: ModelNeuron) -> None:
        self.neurons[neuron.id] = neuron
        self.connect(neuron.id)
        self._at(self.now + HEARTBEAT_S, lambda: self._beat(neuron.id))

    def connect(self, neuron_id: str) -> None:
        self._connection += 1
        number = self._connection
        self.connections[neuron_id] = number
        register = self.neurons[neuron_id].register()
        self._at(self.now + self.latency_s, lambda: self._arrive_registration(number, register))

    def mark(self, neuron_id: str, *, cordoned: bool, draining: bool) -> None:
        self._happen(ev.NeuronMarked(NeuronId(neuron_id), cordoned, draining, "test"))

    def cut(self, neuron_id: str) -> None:
        """The socket closes, with all that was on its way."""
        number = self.connections.pop(neuron_id, 0)
        if number:
            self._happen(ev.NeuronGone(NeuronId(neuron_id), number, "closed"))

    def restart_cortex(self) -> None:
        self.restarts += 1
        for neuron_id in list(self.connections):
            del self.connections[neuron_id]
            self._at(self.now + 1.0, lambda n=neuron_id: self.connect(n))  # type: ignore[misc]
        self.fleet = FleetState(FleetPolicy(), f"w{self.restarts}")
        self._happen(self._wanted)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
            self.check()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_s: float) -> float:
        start = self.now
        while not condition():
            assert self.now - start < limit_s, f"not reached within {limit_s} s of world time"
            self.run(0.5)
        return self.now - start

    def check(self) -> None:
        """What must hold at every step."""
        for neuron in self.neurons.values():
            assert neuron.memory_bytes() <= neuron.budget_bytes
        views = list(self.snapshot.neurons.values())
        needs = needs_of_models(views)
        # Where reports get lost, a need can be learned after its load was asked for; the neuron
        # then refuses, which the first assertion shows.
        for view in views if self.lossless else ():
            assert booked_bytes(view, needs) <= view.capabilities.memory_budget_bytes
        for model in self.snapshot.models.values():
            for replica in model.replicas:
                view = self.snapshot.neurons[replica.neuron_id]
                assert view.connected
                assert view.descriptor.epoch == replica.epoch

    def replicas(self, model_id: str) -> list[str]:
        view = self.snapshot.models.get(model_id)
        return [r.neuron_id for r in view.replicas] if view is not None else []

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))

    def _tick(self) -> None:
        self._happen(ev.Tick())
        self._at(self.now + 1.0, self._tick)

    def _beat(self, neuron_id: str) -> None:
        neuron = self.neurons[neuron_id]
        neuron.out.append(neuron.heartbeat())
        self._flush(neuron_id)
        self._at(self.now + HEARTBEAT_S, lambda: self._beat(neuron_id))

    def _flush(self, neuron_id: str) -> None:
        neuron = self.neurons[neuron_id]
        neuron.pass_time(self.now)
        number = self.connections.get(neuron_id, 0)
        for message in neuron.take():
            if number and self.random.random() >= self.loss:
                self._at(
                    self._arrival(("up", number)),
                    lambda m=message: self._arrive(neuron_id, number, m),  # type: ignore[misc]
                )

    def _arrival(self, lane: tuple[str, int]) -> float:
        when = self.now + self.latency_s * (0.5 + self.random.random())
        when = max(when, self._last_arrival.get(lane, 0.0))
        self._last_arrival[lane] = when
        return when

    def _arrive_registration(self, number: int, register: object) -> None:
        if number in self.connections.values():
            self._happen(ev.NeuronRegistered(number, register))  # type: ignore[arg-type]

    def _arrive(self, neuron_id: str, number: int, message: NeuronMessage) -> None:
        if self.connections.get(neuron_id) != number:
            return
        key = NeuronId(neuron_id)
        match message:
            case Heartbeat():
                event: ev.Event = ev.NeuronBeat(
                    key, number, message.health, message.load, message.models
                )
            case ModelReport():
                event = ev.ModelReported(key, number, message.status)
            case ProvisioningResponse():
                event = ev.CommandAnswered(key, number, message)
            case _:
                raise AssertionError(message)
        self._happen(event)

    def _happen(self, event: ev.Event) -> None:
        commands = self.fleet.apply([event], self.now)
        provisions: list[Provision] = []
        if self.fleet.plan_is_due(self.now):
            view = self.fleet.snapshot(self.now)
            provisions = self.fleet.issue(
                reconcile(view, self.now, self.fleet.board(self.now)), self.now
            )
        self.provisions.extend(provisions)
        self.snapshot = self.fleet.snapshot(self.now)
        for command in commands:
            if isinstance(command, CloseConnection):
                names = [k for k, v in self.connections.items() if v == command.connection]
                for name in names:
                    self.cut(name)
                    self._at(self.now + 1.0, lambda n=name: self.connect(n))  # type: ignore[misc]
            else:
                assert isinstance(command, AcceptNeuron) or command
        for provision in provisions:
            if self.random.random() >= self.loss:
                self._deliver(provision)

    def _deliver(self, provision: Provision) -> None:
        neuron_id, number = provision.neuron_id, provision.connection

        def arrive() -> None:
            if self.connections.get(neuron_id) == number:
                message = Provisioning(command_id=provision.command_id, command=provision.command)
                neuron = self.neurons[neuron_id]
                neuron.receive(message, self.now)
                self._flush(neuron_id)
                self._at(self.now + neuron.load_s, lambda: self._flush(neuron_id))

        self._at(self._arrival(("down", number)), arrive)
