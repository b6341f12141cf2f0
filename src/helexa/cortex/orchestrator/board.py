"""The fleet's memory and places at one moment, and what one reconcile books on top of it. Pure.

board = Board(neurons, desired, outlook, now)
board.free_bytes(neuron)        what may still be given away
board.book(neuron, model)       give it to a model that is about to be loaded
board.held_on(neuron)           who has it now, in the order in which they would make room
"""

from collections.abc import Iterable, Mapping
from typing import Final

from helexa.cortex.orchestrator.demand import hardware_key
from helexa.cortex.orchestrator.liveness import NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.retention import Held, Newcomer
from helexa.cortex.orchestrator.rules import DEFAULT_RULES
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    NeuronView,
    Outlook,
)
from helexa.protocol.control import LoadModel, UnloadModel
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState

_HOLDING: Final = frozenset({ModelState.LOADING, ModelState.LOADED, ModelState.UNLOADING})
_UP: Final = frozenset({ModelState.LOADED, ModelState.LOADING})
ZONE_LABEL: Final = "zone"


def gibibytes(byte_count: int) -> str:
    """Return a size for people: `21.4 GiB`, and MiB below a tenth of one."""
    if byte_count < 2**30 // 10:
        return f"{byte_count / 2**20:.0f} MiB"
    return f"{byte_count / 2**30:.1f} GiB"


def booked_bytes(neuron: NeuronView, models: Mapping[ModelId, int]) -> int:
    """Return the memory that a neuron's models need or are about to need.

    `models` tells the need of models that the neuron itself has not measured.
    """
    total = 0
    for model_id, instance in neuron.instances.items():
        if occupies(instance):
            total += need_on(instance, models.get(model_id, 0))
    return total


def occupies(instance: Instance) -> bool:
    """Tell whether a model takes memory on its neuron, or is about to."""
    return instance.state in _HOLDING or instance.recovering or _is_coming(instance)


def need_on(instance: Instance, elsewhere_bytes: int) -> int:
    """Return what a model needs on one neuron: its own figure, else that of other neurons."""
    status = instance.status
    if status is not None and status.capability is not None:
        own = status.capability.memory_bytes
        if own is not None:
            return own
    return elsewhere_bytes


def _works(instance: Instance) -> bool:
    status = instance.status
    return status is not None and status.active_requests + status.waiting_requests > 0


def _is_coming(instance: Instance) -> bool:
    return instance.pending is not None and isinstance(instance.pending.command, LoadModel)


def _is_leaving(instance: Instance) -> bool:
    return instance.pending is not None and isinstance(instance.pending.command, UnloadModel)


def needs_of_models(neurons: Iterable[NeuronView]) -> dict[ModelId, int]:
    """Return each model's largest known need in bytes; a model nobody measured is absent."""
    needs: dict[ModelId, int] = {}
    for neuron in neurons:
        for model_id, instance in neuron.instances.items():
            need = need_on(instance, 0)
            if need:
                needs[model_id] = max(needs.get(model_id, 0), need)
    return needs


def is_awaited(neuron: NeuronView, now: float) -> bool:
    """Tell whether a neuron from before cortex's restart may still come back by itself."""
    return neuron.state is NeuronState.UNCONFIRMED and now - neuron.since_s < REPLACE_AFTER_S


def holds(neuron: NeuronView, model_id: ModelId, now: float) -> bool:
    """Tell whether a neuron has, or is about to have, a model; a second one would be too many."""
    instance = neuron.instances.get(model_id)
    if instance is None:
        return False
    if neuron.state in {NeuronState.GONE, NeuronState.UNCONFIRMED}:
        if now - neuron.since_s >= REPLACE_AFTER_S:
            return False
        return instance.state in _UP
    if instance.pending is not None:
        return not _is_leaving(instance)
    if instance.state in _UP:
        return True
    return instance.recovering and instance.not_before_s > now


class Board:
    """Who has what and who may have more. It changes only by `book` and `reserve`."""

    def __init__(
        self,
        neurons: Iterable[NeuronView],
        desired: Mapping[ModelId, DesiredModel],
        outlook: Outlook,
        now: float,
    ) -> None:
        self.neurons = sorted(neurons, key=lambda n: n.descriptor.id)
        self.desired = desired
        self.outlook = outlook
        self.now = now
        self.needs = needs_of_models(self.neurons)
        self.booked: dict[NeuronId, int] = {}
        self.holders: dict[ModelId, set[NeuronId]] = {}
        """Neurons that have a model, are about to, or make room for it."""
        self.promised: dict[ModelId, set[NeuronId]] = {}
        """Neurons that make room for a model."""
        self._told_to_leave: set[tuple[NeuronId, ModelId]] = set()
        self._occupied: dict[NeuronId, set[ModelId]] = {}
        self._by_id = {n.descriptor.id: n for n in self.neurons}
        for neuron in self.neurons:
            self._note(neuron)

    @classmethod
    def of(cls, snapshot: FleetSnapshot, now: float) -> "Board":
        """Return the board of a snapshot."""
        return cls(snapshot.neurons.values(), snapshot.desired, snapshot.outlook, now)

    def _note(self, neuron: NeuronView) -> None:
        neuron_id = neuron.descriptor.id
        occupied = self._occupied.setdefault(neuron_id, set())
        self.booked[neuron_id] = self.booked.get(neuron_id, 0)
        for model_id, instance in neuron.instances.items():
            if occupies(instance):
                occupied.add(model_id)
                self.booked[neuron_id] += need_on(instance, self.needs.get(model_id, 0))
            if holds(neuron, model_id, self.now):
                self.holders.setdefault(model_id, set()).add(neuron_id)
        promised: dict[ModelId, int] = {}
        for model_id, instance in neuron.instances.items():
            # Who is away makes room for nobody: it is not known to come back.
            if instance.makes_room_for is not None and neuron.connected:
                # Who is gone already has nothing booked that the newcomer could be promised.
                there = occupies(instance)
                leaving = need_on(instance, self.needs.get(model_id, 0)) if there else 0
                newcomer = instance.makes_room_for
                promised[newcomer] = promised.get(newcomer, 0) + leaving
        for newcomer, leaving in promised.items():
            self.reserve(neuron, newcomer, leaving)

    def neuron(self, neuron_id: NeuronId) -> NeuronView:
        """Return a neuron by its id."""
        return self._by_id[neuron_id]

    def free_bytes(self, neuron: NeuronView) -> int:
        """Return the memory that nobody has and nobody was promised; may be negative."""
        return neuron.capabilities.memory_budget_bytes - self.booked[neuron.descriptor.id]

    def count_on(self, neuron: NeuronView) -> int:
        """Return how many models a neuron has or is about to have."""
        return len(self._occupied[neuron.descriptor.id])

    def has(self, neuron: NeuronView, model_id: ModelId) -> bool:
        """Tell whether a neuron has a model, is about to, or makes room for it."""
        return neuron.descriptor.id in self.holders.get(model_id, ())

    def book(self, neuron: NeuronView, model_id: ModelId) -> None:
        """Give a model its memory and place: it is about to be loaded there."""
        neuron_id = neuron.descriptor.id
        instance = neuron.instances.get(model_id, Instance())
        self.booked[neuron_id] += need_on(instance, self.needs.get(model_id, 0))
        self._occupied[neuron_id].add(model_id)
        self.holders.setdefault(model_id, set()).add(neuron_id)

    def reserve(self, neuron: NeuronView, model_id: ModelId, leaving_bytes: int) -> None:
        """Promise a model the `leaving_bytes` of others, and what it needs beside them.

        Those who leave have theirs booked until they are gone, so only the rest is booked here.
        """
        neuron_id = neuron.descriptor.id
        need = need_on(neuron.instances.get(model_id, Instance()), self.needs.get(model_id, 0))
        self.booked[neuron_id] += max(need - leaving_bytes, 0)
        self.promised.setdefault(model_id, set()).add(neuron_id)
        self.holders.setdefault(model_id, set()).add(neuron_id)

    def leave(self, neuron: NeuronView, model_id: ModelId) -> int:
        """Note that a model is told to leave; its memory stays booked. Returns its bytes."""
        self.holders.get(model_id, set()).discard(neuron.descriptor.id)
        self._told_to_leave.add((neuron.descriptor.id, model_id))
        return need_on(neuron.instances[model_id], self.needs.get(model_id, 0))

    def leaves(self, neuron: NeuronView, model_id: ModelId) -> bool:
        """Tell whether a model was told to leave a neuron, now or before."""
        instance = neuron.instances.get(model_id, Instance())
        return (neuron.descriptor.id, model_id) in self._told_to_leave or _is_leaving(instance)

    def newcomer(self, model: DesiredModel) -> Newcomer:
        """Return a model as one that needs room."""
        rules = model.rules
        held = len(self.holders.get(model.config.id, ()))
        return Newcomer(
            model_id=model.config.id,
            priority=rules.priority,
            waiting_since_s=model.waiting_since_s,
            short=rules.guaranteed and held < min(rules.min_replicas, model.replicas),
            forecast=held < min(model.warm, model.replicas),
        )

    def is_apart(self, model_id: ModelId, neuron: NeuronView) -> bool:
        """Tell whether no other replica of a model is on the neuron's host or in its zone."""
        others = [self._by_id[key] for key in self.holders.get(model_id, ())]
        host, zone = neuron.descriptor.hostname, neuron.descriptor.labels.get(ZONE_LABEL)
        return not any(
            (host and other.descriptor.hostname == host)
            or (zone and other.descriptor.labels.get(ZONE_LABEL) == zone)
            for other in others
            if other is not neuron
        )

    def is_quiet(self, model_id: ModelId) -> bool:
        """Tell whether no neuron is at something with a model, or rests after it refused it."""
        found = (neuron.instances.get(model_id) for neuron in self.neurons)
        return all(i is None or (i.pending is None and i.not_before_s <= self.now) for i in found)

    def idle_s(self, instance: Instance, model_id: ModelId) -> float:
        """Return for how long nobody has used a replica, its load included in the use."""
        if _works(instance):
            return 0.0
        demand = self.outlook.demand.get(model_id)
        rested_s = max(self.now - instance.since_s, 0.0)
        return rested_s if demand is None else min(demand.idle_s(self.now), rested_s)

    def held_on(self, neuron: NeuronView) -> list[Held]:
        """Return what takes memory on a neuron, those that make room first at the front."""
        hardware = hardware_key(neuron.capabilities.hardware)
        held = [
            self._held(neuron, model_id, instance, hardware)
            for model_id, instance in neuron.instances.items()
            if occupies(instance)
        ]
        return sorted(held, key=lambda h: (self.outlook.strategy.retention_key(h), h.model_id))

    def _held(
        self, neuron: NeuronView, model_id: ModelId, instance: Instance, hardware: str
    ) -> Held:
        desired = self.desired.get(model_id)
        rules = desired.rules if desired is not None else DEFAULT_RULES
        demand = self.outlook.demand.get(model_id)
        working = _works(instance)
        configured = desired is not None and not desired.demanded
        engine = desired.config.engine if desired is not None else ""
        holders = len(self.holders.get(model_id, ()))
        needed = desired.replicas - desired.ahead if desired is not None else holders
        return Held(
            model_id=model_id,
            bytes=need_on(instance, self.needs.get(model_id, 0)),
            rules=rules,
            idle_s=self.idle_s(instance, model_id),
            busy=working or (demand is not None and demand.in_flight > 0),
            loaded=instance.state is ModelState.LOADED and instance.pending is None,
            leaving=instance.state is ModelState.UNLOADING or self.leaves(neuron, model_id),
            loaded_since_s=instance.since_s,
            ours=instance.owned or instance.lent or configured,
            surplus=holders > rules.min_replicas,
            load_s=self.outlook.learned.load_time_s(model_id, engine, hardware),
            warm=desired is not None and desired.warm > 0,
            ahead=desired is not None
            and desired.ahead > 0
            and not _works(instance)
            and holders > needed,
        )
