"""What the replicas of each model bear, worked out when they change and not each second. Pure."""

from collections.abc import Mapping
from operator import is_

from helexa.cortex.orchestrator.demand import Learned, hardware_key
from helexa.cortex.orchestrator.snapshot import NeuronView, Replica
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.model import ModelConfig


class Bearing:
    """What was found of each configured model, and from what; as many as are configured."""

    def __init__(self) -> None:
        self._found: dict[ModelId, tuple[tuple[object, ...], tuple[int, bool]]] = {}

    def clear(self) -> None:
        """Forget everything: other models are configured."""
        self._found.clear()

    def of(
        self,
        config: ModelConfig,
        replicas: tuple[Replica, ...],
        neurons: Mapping[NeuronId, NeuronView],
        learned: Learned,
    ) -> tuple[int, bool]:
        """Return the requests that one replica bears in the mean (0: unknown), and whether any has
        one now."""
        because = (config, replicas, learned.throughput)
        known = self._found.get(config.id)
        if known is not None and all(map(is_, known[0], because)):
            return known[1]
        seats = [
            learned.seats(
                config.engine,
                hardware_key(neurons[r.neuron_id].capabilities.hardware),
                r.capability.seats,
            )
            for r in replicas
            if r.neuron_id in neurons
        ]
        each = max(1, sum(seats) // len(seats)) if seats else 0
        found = each, any(r.active_requests for r in replicas)
        self._found[config.id] = because, found
        return found
