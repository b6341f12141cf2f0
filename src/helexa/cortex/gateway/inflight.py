"""Requests that were sent to a replica and have not ended. Pure, and the gateway's own.

The neuron's reports are up to a heartbeat old; this is exact, but knows only this gateway.
"""

from typing import Final

from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId, NeuronId

COPIED_MAX: Final = 64
"""Replicas in use whose counts are kept with each decision; a copy of so many costs 0.6 µs."""


class Inflight:
    """Counts by neuron and model; a replica nobody is using takes no memory."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts: dict[tuple[NeuronId, ModelId], int] = {}
        self.total = 0

    def add(self, neuron_id: NeuronId, model_id: ModelId) -> int:
        """Count one more request on a replica; return how many it has with it."""
        key = (neuron_id, model_id)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        self.total += 1
        return count

    def remove(self, neuron_id: NeuronId, model_id: ModelId) -> int:
        """Count one request less; return how many there were with it.

        Removing what was not added is a bug (AssertionError).
        """
        key = (neuron_id, model_id)
        left = self._counts.get(key, 0) - 1
        assert left >= 0, f"more requests ended on {key} than were sent"
        self.total -= 1
        if left:
            self._counts[key] = left
        else:
            del self._counts[key]
        return left + 1

    def counts(self) -> dict[tuple[NeuronId, ModelId], int] | None:
        """Return all counts as they are now; None where there are too many to copy each time."""
        return self._counts.copy() if len(self._counts) <= COPIED_MAX else None

    def by_model(self) -> dict[ModelId, int]:
        """Return how many requests each model has, over all its replicas."""
        models: dict[ModelId, int] = {}
        for (_, model_id), count in self._counts.items():
            models[model_id] = models.get(model_id, 0) + count
        return models

    def on(self, replica: Replica) -> int:
        """Return how many requests are on a replica."""
        return self._counts.get((replica.neuron_id, replica.model_id), 0)
