"""What the control plane needs of the rest of the neuron, as one interface."""

from typing import Protocol

from helexa.protocol.model import ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad
from helexa.protocol.ports import NeuronControl


class NeuronFace(NeuronControl, Protocol):
    """The neuron as cortex sees it. Everything but `capabilities` answers at once."""

    @property
    def descriptor(self) -> NeuronDescriptor:
        """Who this neuron is; the same for the whole life of the process."""
        ...

    async def capabilities(self) -> Capabilities:
        """Return what it may run; asks the hardware, which takes a moment."""
        ...

    def statuses(self, *, with_config: bool = False) -> tuple[ModelStatus, ...]:
        """Return every known model as it is now."""
        ...

    def health(self) -> NeuronHealth:
        """Return how it is doing."""
        ...

    def load(self) -> NeuronLoad:
        """Return what it is working on."""
        ...
