"""The fleet's memory and places at one moment, and what one reconcile books on top of it. Pure.

board = Board.of(snapshot, now)
board.free_bytes(neuron)        what may still be given away
board.book(neuron, model)       give it to a model that is about to be loaded
board.held_on(neuron)           who has it now, in the order in which they would make room

A board is a look at `accounts`: those that the fleet's state keeps, or new ones. It is good until
they are next updated.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from helexa.cortex.orchestrator.accounts import Accounts, Index, Key
from helexa.cortex.orchestrator.demand import hardware_key
from helexa.cortex.orchestrator.holding import is_leaving, need_on, occupies
from helexa.cortex.orchestrator.retention import Held, Newcomer
from helexa.cortex.orchestrator.rules import DEFAULT_RULES
from helexa.cortex.orchestrator.snapshot import (
    DesiredModel,
    FleetSnapshot,
    Instance,
    NeuronView,
    Outlook,
)
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState

ZONE_LABEL: Final = "zone"


def gibibytes(byte_count: int) -> str:
    """Return a size for people: `21.4 GiB`, and MiB below a tenth of one."""
    if byte_count < 2**30 // 10:
        return f"{byte_count / 2**20:.0f} MiB"
    return f"{byte_count / 2**30:.1f} GiB"


def _works(instance: Instance) -> bool:
    status = instance.status
    return status is not None and status.active_requests + status.waiting_requests > 0


class Board:
    """Who has what and who may have more. It changes only by `book`, `reserve` and `leave`."""

    def __init__(
        self,
        accounts: Accounts,
        desired: Mapping[ModelId, DesiredModel],
        outlook: Outlook,
        now: float,
    ) -> None:
        self.accounts = accounts
        self.desired = desired
        self.outlook = outlook
        self.now = now
        self.needs = accounts.needs
        self._told_to_leave: set[tuple[NeuronId, ModelId]] = set()

    @classmethod
    def anew(
        cls,
        neurons: Iterable[NeuronView],
        desired: Mapping[ModelId, DesiredModel],
        outlook: Outlook,
        now: float,
    ) -> "Board":
        """Return a board of accounts that nobody keeps; it looks at every neuron."""
        accounts, views = Accounts(), {view.descriptor.id: view for view in neurons}
        accounts.touch(views)
        accounts.update(views, now)
        return cls(accounts, desired, outlook, now)

    @classmethod
    def of(cls, snapshot: FleetSnapshot, now: float) -> "Board":
        """Return the board of a snapshot, made anew."""
        return cls.anew(snapshot.neurons.values(), snapshot.desired, snapshot.outlook, now)

    @property
    def neurons(self) -> list[NeuronView]:
        """Return every neuron, by id."""
        views = self.accounts.views
        return [views[key] for key in self.accounts.names()]

    @property
    def promised(self) -> Index:
        """Return the neurons that make room for a model."""
        return self.accounts.promised

    @property
    def holders(self) -> Index:
        """Return the neurons that have a model, are about to, or make room for it."""
        return self.accounts.holders

    def neuron(self, neuron_id: NeuronId) -> NeuronView:
        """Return a neuron by its id."""
        return self.accounts.views[neuron_id]

    def having(self, model_id: ModelId) -> list[NeuronView]:
        """Return the neurons that have something to say of a model, by id."""
        return [self.neuron(key) for key in sorted(self.accounts.having.get(model_id, ()))]

    def in_waiting(self) -> list[NeuronView]:
        """Return, among others, all neurons that may still come back by themselves, by id."""
        return [self.neuron(key) for key in self.accounts.passing()]

    def emptiest(self, engine: str, salt: int) -> Iterator[NeuronView]:
        """Yield who may be given a model, the most free memory first: see `Accounts.emptiest`."""
        return map(self.neuron, self.accounts.emptiest(engine, salt))

    def key(self, neuron_id: NeuronId) -> Key:
        """Return by what a neuron is sorted among those with free memory."""
        return self.accounts.key(neuron_id)

    def free_bytes(self, neuron: NeuronView) -> int:
        """Return the memory that nobody has and nobody was promised; may be negative."""
        booked = self.accounts.booked[neuron.descriptor.id]
        return neuron.capabilities.memory_budget_bytes - booked

    def count_on(self, neuron: NeuronView) -> int:
        """Return how many models a neuron has or is about to have."""
        return len(self.accounts.occupied[neuron.descriptor.id])

    def has(self, neuron: NeuronView, model_id: ModelId) -> bool:
        """Tell whether a neuron has a model, is about to, or makes room for it."""
        return neuron.descriptor.id in self.holders.get(model_id, ())

    def staying(self, model_id: ModelId) -> int:
        """Return how many of a model's holders are not being drained."""
        holders = self.holders.get(model_id, set())
        return len(holders) - len(self.accounts.draining & holders)

    def outdated(self, model: DesiredModel) -> list[NeuronView]:
        """Return the holders that have the model with another config than it should have, by id."""
        model_id = model.config.id
        digests = self.accounts.digests.get(model_id, {})
        found = {key for digest in digests.keys() - {model.digest} for key in digests[digest]}
        if not found:
            return []
        return [self.neuron(key) for key in sorted(found & self.holders.get(model_id, set()))]

    def book(self, neuron: NeuronView, model_id: ModelId) -> None:
        """Give a model its memory and place: it is about to be loaded there."""
        self.accounts.book(neuron, model_id)

    def reserve(self, neuron: NeuronView, model_id: ModelId, leaving_bytes: int) -> None:
        """Promise a model the `leaving_bytes` of others, and what it needs beside them.

        Those who leave have theirs booked until they are gone, so only the rest is booked here.
        """
        self.accounts.reserve(neuron, model_id, leaving_bytes)

    def leave(self, neuron: NeuronView, model_id: ModelId) -> int:
        """Note that a model is told to leave; its memory stays booked. Returns its bytes."""
        self._told_to_leave.add((neuron.descriptor.id, model_id))
        return self.accounts.leave(neuron, model_id)

    def leaves(self, neuron: NeuronView, model_id: ModelId) -> bool:
        """Tell whether a model was told to leave a neuron, now or before."""
        instance = neuron.instances.get(model_id, Instance())
        return (neuron.descriptor.id, model_id) in self._told_to_leave or is_leaving(instance)

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
        others = [self.neuron(key) for key in self.holders.get(model_id, ())]
        host, zone = neuron.descriptor.hostname, neuron.descriptor.labels.get(ZONE_LABEL)
        return not any(
            (host and other.descriptor.hostname == host)
            or (zone and other.descriptor.labels.get(ZONE_LABEL) == zone)
            for other in others
            if other is not neuron
        )

    def is_quiet(self, model_id: ModelId) -> bool:
        """Tell whether no neuron is at something with a model, or rests after it refused it."""
        found = (neuron.instances[model_id] for neuron in self.having(model_id))
        return all(i.pending is None and i.not_before_s <= self.now for i in found)

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
