"""What the replicas of each model bear, worked out when they change and not each second. Pure."""

from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId


class Bearing:
    """What was found of each configured model's replicas; as many as are configured."""

    def __init__(self) -> None:
        self._found: dict[ModelId, tuple[tuple[Replica, ...], tuple[int, bool]]] = {}

    def clear(self) -> None:
        """Forget everything: other models are configured."""
        self._found.clear()

    def of(self, model_id: ModelId, replicas: tuple[Replica, ...]) -> tuple[int, bool]:
        """Return the requests that one replica bears in the mean (0: unknown), and whether any has
        one now."""
        known = self._found.get(model_id)
        if known is not None and known[0] is replicas:
            return known[1]
        each = max(1, sum(r.seats for r in replicas) // len(replicas)) if replicas else 0
        found = each, any(r.active_requests for r in replicas)
        self._found[model_id] = replicas, found
        return found
