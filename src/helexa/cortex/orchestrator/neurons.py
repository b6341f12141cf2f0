"""One neuron's record inside the fleet's state. Pure; only `fleet` changes it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from helexa.cortex.orchestrator.events import NeuronRestored
from helexa.cortex.orchestrator.liveness import PRESENT, Holder, NeuronState
from helexa.cortex.orchestrator.snapshot import Instance, NeuronView
from helexa.protocol.control import ProvisioningResponse, Register
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad

ANSWERS_MAX: Final = 16
MODELS_PER_NEURON_MAX: Final = 1024
ABSENT_MAX: Final = 1024
"""Neurons that are gone and kept in mind; of more, those that left first are forgotten."""


@dataclass(slots=True)
class Neuron:
    """What is known of a neuron; `view` is its frozen picture, kept until something changes."""

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
    cordoned: bool = False
    draining: bool = False
    _view: NeuronView | None = None

    @classmethod
    def registered(cls, connection: int, register: Register, now: float) -> "Neuron":
        """Return the record of a neuron that has just registered, without its models."""
        return cls(
            descriptor=register.neuron,
            capabilities=register.capabilities,
            state=NeuronState.CONNECTED,
            since_s=now,
            heard_s=now,
            connection=connection,
        )

    @classmethod
    def restored(cls, event: NeuronRestored, now: float) -> "Neuron":
        """Return the record of a neuron known from before cortex restarted."""
        instances = {model_id: Instance(owned=True) for model_id in event.owned}
        return cls(
            descriptor=event.neuron,
            capabilities=event.capabilities,
            state=NeuronState.UNCONFIRMED,
            since_s=now,
            heard_s=now,
            connection=0,
            instances=instances,
            cordoned=event.cordoned,
            draining=event.draining,
        )

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
                self.instances[model_id] = replace(instance, pending=None, known_digest="")
            elif instance.owned:
                self.instances[model_id] = Instance(owned=True)

    def mark(self, *, cordoned: bool, draining: bool) -> str:
        """Set both marks and return them in a word; empty where nothing changes.

        Who is drained is cordoned, too.
        """
        marks = (cordoned or draining, draining)
        if marks == (self.cordoned, self.draining):
            return ""
        self.cordoned, self.draining = marks
        self._view = None
        return "draining" if draining else "cordoned" if cordoned else "uncordoned"

    def is_forgotten(self, now: float, after_s: float) -> bool:
        """Tell whether a neuron that left `after_s` seconds ago is to be forgotten.

        One with a mark is not: it left for the repair that it was drained for.
        """
        return now - self.since_s >= after_s and not self.cordoned

    def waits(self, since_s: float) -> bool:
        """Tell whether time alone changes what is shown of it: waits after failures, absence."""
        held_back = any(i.not_before_s > since_s for i in self.instances.values())
        return held_back or (self.state not in PRESENT and bool(self.instances))

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
        self.instances[model_id] = instance
        self._view = None

    def drop(self, model_id: ModelId) -> None:
        """Forget one model."""
        self.instances.pop(model_id, None)
        self._view = None

    def touch(self) -> None:
        """Note that some other field has changed."""
        self._view = None

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
                cordoned=self.cordoned,
                draining=self.draining,
            )
        return self._view


def surplus_of(neurons: Mapping[NeuronId, Neuron]) -> list[NeuronId]:
    """Return who is to be forgotten, so that names made up one after another do not pile up."""
    if len(neurons) <= ABSENT_MAX:
        return []
    absent = [(n.cordoned, n.since_s, k) for k, n in neurons.items() if n.state not in PRESENT]
    return [key for _, _, key in sorted(absent)[: max(len(absent) - ABSENT_MAX, 0)]]
