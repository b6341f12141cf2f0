"""What all models of a neuron share: limits, memory, numbering. A port between two pure parts."""

from typing import Protocol

from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.registry.health import HealthLog
from helexa.neuron.registry.limits import Limits
from helexa.neuron.registry.record import ModelRecord
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelConfig


class Ground(Protocol):
    """What all models share."""

    limits: Limits
    health: HealthLog

    def engine(self, config: ModelConfig) -> EngineDescription:
        """Return the description of a config's engine; the policy allowed it before."""
        ...

    def new_attempt(self) -> int:
        """Return a number that no fetch and no engine had before."""
        ...

    def shortage(self, record: ModelRecord, needed_bytes: int | None) -> str | None:
        """Say why a model that needs so much does not fit beside the others, or None."""
        ...

    def forgotten(self, model_id: ModelId) -> None:
        """Drop the record."""
        ...
