"""What the gateway remembers of requests it has sent, for routing the next ones. Pure, bounded.

Unlike the fleet's snapshot it is the gateway's own: changed in place as requests go and end, and
gone with the process.
"""

from typing import Final

from helexa.cortex.orchestrator.pace import BYTES_PER_TOKEN, Pace, Paces
from helexa.cortex.orchestrator.prefix import PrefixIndex, holder_of
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Trailer

DECISIONS_MAX: Final = 4096
"""Models and reasons counted apart between two looks at the counts."""
UNLEARNED_MAX: Final = 32
"""Requests that ended and are learned from together: what runs for one request alone, between two
system calls, costs three times what it costs in a loop."""


class RoutingMemory:
    """Which prompts went where, how fast each replica was with them, and what was decided why."""

    __slots__ = ("_decisions", "_learn_at", "_turns", "_unlearned", "paces", "prefixes")

    def __init__(self) -> None:
        self.paces = Paces()
        self.prefixes = PrefixIndex()
        self._decisions: dict[tuple[ModelId, str], int] = {}
        self._unlearned: list[tuple[RoutingDecision, Trailer | None]] = []
        self._learn_at = 1
        """How many to learn from together: the first ones at once, for nothing is known yet."""
        self._turns = 0

    def sent(self, request: RoutingRequest, replica: Replica) -> None:
        """Note that a request is on its way to a replica. Small prompts leave nothing to note."""
        if request.prompt_bytes:
            pace = self.paces.learning(replica.neuron_id, replica.model_id)
            pace.tokens_open += request.prompt_bytes // BYTES_PER_TOKEN
            self._turns += 1
            pace.turn = self._turns

    def ended(
        self, request: RoutingRequest, decision: RoutingDecision, trailer: Trailer | None
    ) -> None:
        """Note that a request that was sent has ended; `trailer` only where it went well.

        Only then its prompt counts as known there: what is under way, or failed, helps nobody.
        """
        if request.prompt_bytes:
            replica = decision.replica
            pace = self.paces.learning(replica.neuron_id, replica.model_id)
            pace.tokens_open = max(pace.tokens_open - request.prompt_bytes // BYTES_PER_TOKEN, 0)
        if request.prefix and trailer is not None:
            replica = decision.replica
            holder = holder_of(replica.neuron_id, replica.epoch)
            self.prefixes.note(request.prefix, holder)
        unlearned = self._unlearned
        unlearned.append((decision, trailer))
        if len(unlearned) >= self._learn_at:
            self._learn_at = min(2 * self._learn_at, UNLEARNED_MAX)
            self.learn()

    def learn(self) -> None:
        """Learn from the requests that have ended; done now and then by itself."""
        unlearned, self._unlearned = self._unlearned, []
        for decision, trailer in unlearned:
            replica = decision.replica
            key = (replica.model_id, decision.reason)
            count = self._decisions.get(key, 0)
            if count or len(self._decisions) < DECISIONS_MAX:
                self._decisions[key] = count + 1
            if trailer is not None:
                _learn(self.paces.learning(replica.neuron_id, replica.model_id), trailer)

    def take_decisions(self) -> dict[tuple[ModelId, str], int]:
        """Return how often requests that have ended were decided for which reason, since last."""
        self.learn()
        taken, self._decisions = self._decisions, {}
        return taken


def _learn(pace: Pace, trailer: Trailer) -> None:
    pace.served((trailer.duration_ms - trailer.queued_ms) / 1e3)
    usage, first_ms = trailer.usage, trailer.first_token_ms
    if usage is not None and first_ms is not None:
        computed = usage.prompt_tokens - usage.cached_tokens
        pace.prefilled(computed, (first_ms - trailer.queued_ms) / 1e3)
        pace.generated(usage.completion_tokens - 1, (trailer.duration_ms - first_ms) / 1e3)
