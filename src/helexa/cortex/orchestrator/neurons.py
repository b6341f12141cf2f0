"""One neuron's record inside the fleet's state. Pure; only `fleet` changes it."""

from collections import deque
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from helexa.cortex.orchestrator.circuit import CLOSED
from helexa.cortex.orchestrator.events import NeuronMarked, NeuronRestored
from helexa.cortex.orchestrator.instances import disconnected
from helexa.cortex.orchestrator.ledger import Ledger
from helexa.cortex.orchestrator.liveness import PRESENT, Holder, NeuronState
from helexa.cortex.orchestrator.policy import REPLACE_AFTER_S
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView
from helexa.protocol.control import ProvisioningResponse, Register
from helexa.protocol.ids import ModelId
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.version import negotiate

ANSWERS_MAX: Final = 16
MODELS_PER_NEURON_MAX: Final = 1024
ABSENT_MAX: Final = 1024
"""Neurons that are gone and kept in mind; of more, those that left first are forgotten."""


@dataclass(slots=True)
class Neuron:
    """What is known of a neuron; `view` is its frozen picture, kept until something changes.

    Every change is noted in `ledger`, which all neurons of a fleet share.
    """

    descriptor: NeuronDescriptor
    capabilities: Capabilities
    state: NeuronState
    since_s: float
    heard_s: float
    connection: int
    health: NeuronHealth = field(default_factory=NeuronHealth)
    load: NeuronLoad = field(default_factory=NeuronLoad)
    taken_over_s: float | None = None
    instances: dict[ModelId, Instance] = field(default_factory=dict)
    answers: deque[ProvisioningResponse] = field(default_factory=lambda: deque(maxlen=ANSWERS_MAX))
    conflicts: int = 0
    faults: int = 0
    version: int = 0
    """Of the protocol, as agreed on; 0 while it has not been here."""
    cordoned: bool = False
    draining: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    waiting: set[ModelId] = field(default_factory=set)
    """Models of which time alone will change something: a command, a wait, a rest."""
    _view: NeuronView | None = None

    @classmethod
    def registered(
        cls, connection: int, register: Register, now: float, ledger: Ledger | None = None
    ) -> "Neuron":
        """Return the record of a neuron that has just registered, without its models."""
        return cls(
            descriptor=register.neuron,
            capabilities=register.capabilities,
            state=NeuronState.CONNECTED,
            since_s=now,
            heard_s=now,
            connection=connection,
            version=negotiate(register.version_min, register.version_max) or 0,
            ledger=ledger if ledger is not None else Ledger(),
        )

    @classmethod
    def restored(cls, event: NeuronRestored, now: float, ledger: Ledger | None = None) -> "Neuron":
        """Return the record of a neuron known from before cortex restarted."""
        neuron = cls(
            descriptor=event.neuron,
            capabilities=event.capabilities,
            state=NeuronState.UNCONFIRMED,
            since_s=now,
            heard_s=now,
            connection=0,
            cordoned=event.cordoned,
            draining=event.draining,
            ledger=ledger if ledger is not None else Ledger(),
        )
        for model_id in event.owned | event.lent:
            mark = Instance(owned=model_id in event.owned, lent=model_id in event.lent)
            neuron.put(model_id, mark)
        return neuron

    def inherit(self, known: "Neuron") -> None:
        """Keep what outlives a connection of this neuron: marks, counters, ownership, waits.

        A new process starts with a clean slate where it failed; a mere reconnect does not.
        """
        self.taken_over_s = known.taken_over_s
        self.conflicts, self.faults = known.conflicts, known.faults
        self.cordoned, self.draining = known.cordoned, known.draining
        same_process = known.descriptor.epoch == self.descriptor.epoch
        for model_id, instance in known.instances.items():
            if same_process:
                self.put(model_id, replace(disconnected(instance), known_digest=""))
            elif instance.owned or instance.lent:
                self.put(model_id, Instance(owned=instance.owned, lent=instance.lent))
            else:
                self.ledger.drop(self.descriptor.id, model_id)

    def mark(self, event: NeuronMarked) -> str:
        """Set both marks and return them in a word; empty where nothing changes.

        Who is drained is cordoned, too.
        """
        marks = (event.cordoned or event.draining, event.draining)
        if marks == (self.cordoned, self.draining):
            return ""
        self.cordoned, self.draining = marks
        self.turn()
        return "draining" if marks[1] else "cordoned" if marks[0] else "uncordoned"

    def is_forgotten(self, now: float, after_s: float) -> bool:
        """Tell whether a neuron that left `after_s` seconds ago is to be forgotten.

        One with a mark is not: it left for the repair that it was drained for.
        """
        return now - self.since_s >= after_s and not self.cordoned

    def waits(self, since_s: float) -> bool:
        """Tell whether time alone may make a plan of now another than that of `since_s`."""
        if self.state not in PRESENT:
            expected = self.instances or self.state is NeuronState.UNCONFIRMED
            return bool(expected) and self.since_s + REPLACE_AFTER_S > since_s
        return any(self.instances[m].not_before_s > since_s for m in self.waiting)

    def holder(self) -> Holder:
        """Return this neuron as the holder of its id."""
        return Holder(
            epoch=self.descriptor.epoch,
            present=self.state in PRESENT,
            heard_s=self.heard_s,
            taken_over_s=self.taken_over_s,
        )

    def has_room_for(self, model_id: ModelId) -> bool:
        """Tell whether one more model may be kept, so that inventions do not fill the memory."""
        return model_id in self.instances or len(self.instances) < MODELS_PER_NEURON_MAX

    def put(self, model_id: ModelId, instance: Instance) -> None:
        """Set one model's instance."""
        self.ledger.put(self.descriptor.id, model_id, self.instances.get(model_id), instance)
        self.instances[model_id] = instance
        if time_matters(instance):
            self.waiting.add(model_id)
        else:
            self.waiting.discard(model_id)
        self._view = None

    def drop(self, model_id: ModelId) -> None:
        """Forget one model."""
        if self.instances.pop(model_id, None) is not None:
            self.waiting.discard(model_id)
            self.ledger.drop(self.descriptor.id, model_id)
            self._view = None

    def drop_all(self) -> None:
        """Forget every model: this record is about to go."""
        for model_id in list(self.instances):
            self.drop(model_id)
        self.turn()

    def touch(self) -> None:
        """Note that a field changed that no model depends on."""
        self.ledger.neurons.add(self.descriptor.id)
        self._view = None

    def turn(self) -> None:
        """Note that a field changed that its models and their places depend on."""
        self.touch()
        self.ledger.models.update(self.instances)
        self.ledger.plan = True

    def view(self) -> NeuronView:
        """Return the frozen picture of this neuron."""
        if self._view is None:
            instances = dict(self.instances)
            models = {k: i.state for k, i in instances.items() if i.status is not None}
            self._view = NeuronView(
                descriptor=self.descriptor,
                capabilities=self.capabilities,
                health=self.health,
                load=self.load,
                connected=self.state in PRESENT,
                suspect=self.state is NeuronState.SUSPECT,
                last_heard_s=self.heard_s,
                models=MappingProxyType(models),
                state=self.state,
                since_s=self.since_s,
                connection=self.connection,
                instances=MappingProxyType(instances),
                answers=tuple(self.answers),
                conflicts=self.conflicts,
                faults=self.faults,
                version=self.version,
                cordoned=self.cordoned,
                draining=self.draining,
            )
        return self._view


def time_matters(instance: Instance) -> bool:
    """Tell whether an instance changes, or may be acted on, when time passes."""
    return (
        instance.pending is not None
        or instance.recovering
        or instance.not_before_s > 0.0
        or instance.circuit is not CLOSED
    )
