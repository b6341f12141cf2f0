"""What becomes of a request that its neuron gave up: tried elsewhere, gone on with, or told.

    nothing of an answer yet ──► another replica, while the budget lasts
    plain text in a stream ────► another replica continues it (`resume`)
    anything else ─────────────► the caller is told

Only what never became an answer is tried again: any answer of an engine, whatever its status, is
final. A request that engines die of is not tried again, here or on a later call.
"""

from typing import TYPE_CHECKING, Final

from helexa.cortex.gateway.metering import Outcome, outcome_of
from helexa.cortex.gateway.quarantine import Quarantine
from helexa.cortex.gateway.relay import Relay
from helexa.cortex.gateway.resume import (
    NOT_KEPT,
    Ending,
    KeptBytes,
    KeptStream,
    continuation,
    read_so_far,
)
from helexa.cortex.gateway.retry_budget import RetryBudget
from helexa.cortex.orchestrator.circuit import TROUBLE_S
from helexa.cortex.orchestrator.events import RequestOutcome
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import Reset, Trailer
from helexa.protocol.sse import DONE
from helexa.protocol.workload import Operation

if TYPE_CHECKING:
    from helexa.cortex.gateway.pipeline import Pipeline

ATTEMPTS_MAX: Final = 2
"""One retry a request: more would multiply a fleet's trouble by the number of its neurons."""
TROUBLED_MAX: Final = 4096
"""Replicas whose failures are kept in mind; of more, the first is forgotten."""
RESUMES_MAX: Final = 3
"""Of one stream, each after some more text: neurons may be restarted one after the other."""
RESUMABLE: Final = frozenset(
    {
        ErrorCode.UPSTREAM_CONNECTION_ERROR,
        ErrorCode.ENGINE_CRASH,
        ErrorCode.ENGINE_GARBAGE,
        ErrorCode.UPSTREAM_TIMEOUT,
        ErrorCode.SERVICE_UNAVAILABLE,
        ErrorCode.SHUTTING_DOWN,
    }
)
"""What ends a stream through the neuron's or engine's fault; not what the caller asked for."""


class Failover:
    """The second chances of one gateway."""

    def __init__(self, pipeline: "Pipeline", budget: RetryBudget, kept: KeptBytes) -> None:
        self._pipeline = pipeline
        self.kept = kept
        self._resumes = kept.left > 0
        self.budget = budget
        self.quarantine = Quarantine()
        self.troubled: dict[tuple[NeuronId, ModelId], float] = {}
        """Replicas that failed, and until when their successes are told, too."""

    def kept_for(self, relay: Relay, replica: Replica) -> KeptStream:
        """Return where a stream's bytes are kept, if another neuron could continue it."""
        head = relay.head
        if head.operation is not Operation.CHAT or head.choices > 1 or head.continues:
            return NOT_KEPT
        if head.tools or head.json_schema or not (replica.capability.resume and self._resumes):
            return NOT_KEPT
        return KeptStream(self.kept)

    def trailer_of(self, kept: KeptStream) -> Trailer | None:
        """Return what a stream that is whole tells of itself, where its neuron did not."""
        so_far = None if kept.given_up else read_so_far(kept.parts())
        if so_far is None:
            return None
        return Trailer(usage=so_far.usage, finish_reason=so_far.finish_reason)

    # ── a neuron gave up ──────────────────────────────────────────────────────────────────────

    def gave_up(self, relay: Relay, refusal: Refusal, reset: Reset) -> None:
        """Decide what becomes of a request whose stream was reset."""
        replica = relay.replica
        assert replica is not None, "a stream without a replica was reset"
        self._note_trouble(relay, replica, refusal)
        kept_away = bool(reset.engine) and self.quarantine.crashed(
            relay.exchange.body,
            f"{replica.neuron_id}/{replica.epoch}/{reset.engine}",
            self._pipeline.now(),
        )
        if kept_away or not (self._retry(relay, refusal, reset) or self._resume(relay, refusal)):
            relay.fail(relay.otherwise if relay.kept.resumes and relay.otherwise else refusal)

    def _retry(self, relay: Relay, refusal: Refusal, reset: Reset) -> bool:
        if not (reset.retry_elsewhere and relay.untouched):
            return False
        if not may_try_again(relay) or not self.budget.spend():
            return False
        relay.otherwise = relay.otherwise or refusal
        self._elsewhere(relay, refusal)
        return True

    def _resume(self, relay: Relay, refusal: Refusal) -> bool:
        kept = relay.kept
        if kept.given_up or refusal.code not in RESUMABLE:
            return False
        kept.drop_rest()
        so_far = read_so_far(kept.parts())
        if so_far is None:
            return False
        head = relay.head
        step = continuation(relay.exchange.body, so_far, include_usage=head.include_usage)
        if step is None:
            return False
        if isinstance(step, Ending):
            relay.trailer = Trailer(usage=step.usage, finish_reason=step.finish_reason)
            relay.end_with(step.data + DONE)
            return True
        stands_still = kept.resumes > 0 and so_far.tokens <= kept.tokens_at_resume
        if stands_still or kept.resumes >= RESUMES_MAX or not self.budget.spend():
            return False
        relay.otherwise = refusal
        kept.goes_on(step, so_far.tokens, relay.attempts)
        self._elsewhere(relay, refusal)
        return True

    def _elsewhere(self, relay: Relay, refusal: Refusal) -> None:
        assert relay.replica is not None, "a request on no replica goes nowhere else"
        self._pipeline.unseat(relay, served=False)
        self._pipeline.retried(relay.replica, refusal.code)
        lost = refusal.code is ErrorCode.UPSTREAM_CONNECTION_ERROR
        relay.leave_for_another(lost=lost)
        self._pipeline.dispatch(relay)

    # ── what is told of replicas ──────────────────────────────────────────────────────────────

    def _note_trouble(self, relay: Relay, replica: Replica, refusal: Refusal) -> None:
        # A crash before the first byte is in the neuron's own report. A request that the neuron
        # refuses for having crashed engines looks the same, and must not take the replica out.
        told = refusal.code is ErrorCode.ENGINE_CRASH and relay.first_byte_s is None
        if outcome_of(refusal) is not Outcome.UPSTREAM_ERROR or told:
            return
        if len(self.troubled) >= TROUBLED_MAX:
            del self.troubled[next(iter(self.troubled))]
        self.troubled[replica.neuron_id, replica.model_id] = self._pipeline.now() + TROUBLE_S
        self._report(relay, replica, ok=False)

    def note_end(self, relay: Relay, replica: Replica) -> None:
        """Tell of a success where it matters: after failures, and of a probe."""
        if relay.outcome is not Outcome.OK:
            return
        key = (replica.neuron_id, replica.model_id)
        until_s = self.troubled.get(key)
        if until_s is not None and until_s <= self._pipeline.now():
            del self.troubled[key]
        elif until_s is None and not replica.probing:
            return
        self._report(relay, replica, ok=True)

    def _report(self, relay: Relay, replica: Replica, *, ok: bool) -> None:
        pipeline = self._pipeline
        pipeline.report(
            RequestOutcome(
                replica.neuron_id,
                replica.model_id,
                ok=ok,
                latency_ms=(pipeline.now() - relay.started_s) * 1e3,
                cause=relay.exchange.request_id,
            )
        )


def may_try_again(relay: Relay) -> bool:
    """Tell whether a request has an attempt left, of those since it was new or last went on."""
    return relay.attempts < relay.kept.attempts_at_resume + ATTEMPTS_MAX
