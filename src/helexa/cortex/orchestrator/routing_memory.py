"""What the gateway remembers of requests it has sent, for routing the next ones. Pure, bounded.

Unlike the fleet's snapshot it is the gateway's own: changed in place as requests go and end, and
gone with the process.
"""

from typing import Final

from helexa.cortex.orchestrator.pace import BYTES_PER_TOKEN, Paces
from helexa.cortex.orchestrator.prefix import PrefixIndex, holder_of
from helexa.cortex.orchestrator.requests import RoutingRequest
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Trailer

DECISIONS_MAX: Final = 4096
"""Models and reasons counted apart between two looks at the counts."""


class RoutingMemory:
    """Which prompts went where, and how fast each replica was with them."""

    __slots__ = ("_decisions", "paces", "prefixes")

    def __init__(self) -> None:
        self.paces = Paces()
        self.prefixes = PrefixIndex()
        self._decisions: dict[tuple[ModelId, str], int] = {}

    def decided(self, model_id: ModelId, reason: str) -> None:
        """Count a decision."""
        key = (model_id, reason)
        count = self._decisions.get(key, 0)
        if count or len(self._decisions) < DECISIONS_MAX:
            self._decisions[key] = count + 1

    def take_decisions(self) -> dict[tuple[ModelId, str], int]:
        """Return how often what was decided since this was last asked."""
        taken, self._decisions = self._decisions, {}
        return taken

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        """Note that a request is on its way to a replica."""
        if request.prefix:
            holder = holder_of(replica.neuron_id, replica.epoch)
            self.prefixes.note(request.prefix, holder)
        pace = self.paces.learning(replica.neuron_id, replica.model_id)
        pace.tokens_open += request.prompt_bytes // BYTES_PER_TOKEN

    def ended(self, request: RoutingRequest, replica: Replica, trailer: Trailer | None) -> None:
        """Note that a request that was sent has ended; `trailer` only where it went well."""
        pace = self.paces.learning(replica.neuron_id, replica.model_id)
        pace.tokens_open = max(pace.tokens_open - request.prompt_bytes // BYTES_PER_TOKEN, 0)
        if trailer is None:
            return
        pace.served((trailer.duration_ms - trailer.queued_ms) / 1e3)
        usage, first_ms = trailer.usage, trailer.first_token_ms
        if usage is not None and first_ms is not None:
            computed = usage.prompt_tokens - usage.cached_tokens
            pace.prefilled(computed, (first_ms - trailer.queued_ms) / 1e3)
            pace.generated(usage.completion_tokens - 1, (trailer.duration_ms - first_ms) / 1e3)
