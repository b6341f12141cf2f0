"""One request, top to bottom: who, what, where, and off it goes. Answers come back in `relay`.

`handle` never waits. What must wait, for a model or for a seat, is a relay without a stream in
`waiting`; what a neuron gave up goes through `failover`; what takes time is looked at by one sweep
for all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from helexa.cortex.gateway.admission import Admission, LineLimits
from helexa.cortex.gateway.auth import credential_of
from helexa.cortex.gateway.classify import BulkThresholds, workload_class
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.failover import Failover, may_try_again
from helexa.cortex.gateway.headers import refusal_answer
from helexa.cortex.gateway.inflight import Inflight
from helexa.cortex.gateway.metering import Outcome, Record, outcome_of
from helexa.cortex.gateway.neuron_words import AnswerHeads
from helexa.cortex.gateway.relay import Relay
from helexa.cortex.gateway.resume import NOT_KEPT, KeptBytes
from helexa.cortex.gateway.retry_budget import RetryBudget
from helexa.cortex.gateway.waiting import WaitingRoom
from helexa.cortex.orchestrator.events import ModelWanted, RequestOutcome
from helexa.cortex.orchestrator.scheduler import RoutingRequest, route
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Replica
from helexa.protocol.dialects import openai
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import NeuronId
from helexa.protocol.inference import OpenHead
from helexa.protocol.ports import Authenticator, Principal
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.protocol.workload import Operation

_encoder: Final = msgspec.json.Encoder()
_STOPPING: Final = Refusal(ErrorCode.SHUTTING_DOWN, "this server is stopping; try again shortly")


class Limits(Protocol):
    """The settings that a request meets; `config.cortex.GatewaySettings` says what they are."""

    first_byte_timeout_s: float
    idle_timeout_s: float
    keepalive_interval_s: float
    commit_after_s: float
    hold_for_load_s: float
    requests_held_max: int
    requests_in_flight_max: int
    queue_requests_max: int
    queue_wait_s: float
    queue_starvation_s: float
    key_requests_max: int | None
    bulk_prompt_tokens: int
    bulk_answer_tokens: int
    retry_percent: int
    resume_bytes_max: int


class OpenStream(Protocol):
    """Starts a request on a neuron; None where that very connection is gone."""

    def __call__(
        self, neuron_id: NeuronId, epoch: int, head: bytes, body: bytes, handler: StreamHandler
    ) -> Stream | None:
        """Open a stream on the neuron's tunnel."""
        ...


@dataclass(frozen=True, slots=True)
class Seams:
    """All that the gateway is given by the rest of cortex; it shares nothing else with it."""

    snapshot: Callable[[], FleetSnapshot]
    report: Callable[[ModelWanted | RequestOutcome], None]
    open_stream: OpenStream
    now: Callable[[], float]
    record: Callable[[Record], None]
    """Told of every request, once, before its caller sees the end."""
    retried: Callable[[Replica, ErrorCode], None] = lambda _replica, _code: None
    """Told of each replica that is given up for another one, and why."""
    extra_lines: Callable[[Exchange], bytes] = lambda _exchange: b""
    """Header lines that an answer gets beside its own: those of CORS."""


class Pipeline:
    """The way of every inference request."""

    def __init__(self, seams: Seams, authenticator: Authenticator, settings: Limits) -> None:
        self.settings = settings
        self.now = seams.now
        self.extra_lines = seams.extra_lines
        self.inflight = Inflight()
        self.draining = False
        self.answer_heads = AnswerHeads()
        self.snapshot = seams.snapshot
        self.report = seams.report
        self.waiting = WaitingRoom(
            self,
            Admission(
                LineLimits(
                    settings.queue_requests_max,
                    settings.queue_wait_s,
                    settings.queue_starvation_s,
                    settings.key_requests_max,
                )
            ),
        )
        kept = KeptBytes(settings.resume_bytes_max)
        self.failover = Failover(self, RetryBudget(settings.retry_percent / 100), kept)
        self._bulk = BulkThresholds(settings.bulk_prompt_tokens, settings.bulk_answer_tokens)
        self._open_stream = seams.open_stream
        self._record = seams.record
        self.retried = seams.retried
        self._authenticator = authenticator
        self._live: dict[Relay, None] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def streams(self) -> int:
        """Return how many requests with a streamed answer are not over."""
        return sum(relay.head.stream for relay in self._live)

    @property
    def newest(self) -> Relay | None:
        """Return the request that came last, of those that are not over."""
        return next(reversed(self._live), None)

    # ── the way in ────────────────────────────────────────────────────────────────────────────

    def handle(self, exchange: Exchange, operation: Operation) -> None:
        """Take one request: authenticate, read, and dispatch or refuse it."""
        # The routes have judged the head already, and noted who it is from.
        principal = exchange.context
        if not isinstance(principal, Principal):
            who = self._authenticator.authenticate(credential_of(exchange.headers))
            if isinstance(who, Refusal):
                self.refuse(exchange, operation, who)
                return
            principal = who
        head = openai.read(operation, exchange.body)
        if isinstance(head, Refusal):
            self.refuse(exchange, operation, head)
            return
        if self.draining:
            self.refuse(exchange, operation, _STOPPING)
            return
        if len(self._live) >= self.settings.requests_in_flight_max:
            because = f"{len(self._live)} requests are being worked on already"
            self.refuse(exchange, operation, Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because))
            return
        failover = self.failover
        if failover.quarantine.blocked:
            kept_away = failover.quarantine.refusal_of(exchange.body, self.now())
            if kept_away is not None:
                self.refuse(exchange, operation, kept_away)
                return
        work = workload_class(head, self._bulk)
        relay = Relay(self, exchange, head, principal, work, self.now())
        self._live[relay] = None
        failover.budget.earn()
        exchange.on_gone = relay.on_gone
        exchange.on_resume = relay.on_resume
        try:
            if not self.waiting.has_to_wait(relay):
                self.dispatch(relay)
        except BaseException:
            self._live.pop(relay, None)
            raise

    def dispatch(self, relay: Relay) -> None:
        """Send a request to the best replica; let it wait; or refuse it."""
        while True:
            decision = route(self.asked_of(relay), self.snapshot(), self.inflight.on)
            if isinstance(decision, Refusal):
                self.waiting.receive(relay, decision)
                return
            replica = decision.replica
            if relay.kept is NOT_KEPT or replica.capability.resume:
                relay.attempts += 1
                if self._send(relay, replica):
                    return
                lost = "the neuron's connection was lost"
                refusal = Refusal(ErrorCode.UPSTREAM_CONNECTION_ERROR, lost)
                relay.otherwise = relay.otherwise or refusal
                if not may_try_again(relay):
                    relay.fail(relay.otherwise)
                    return
                self.retried(replica, refusal.code)
            relay.excluded = (*relay.excluded, replica)

    def _send(self, relay: Relay, replica: Replica) -> bool:
        head = relay.head
        exchange = relay.exchange
        parent = exchange.headers.get(b"traceparent")
        part = relay.kept.continuation
        lead = OpenHead(
            request_id=exchange.request_id,
            model=replica.model_id,
            operation=head.operation,
            stream=head.stream,
            include_usage=head.include_usage,
            traceparent=_text(parent) if parent is not None else "",
            principal=relay.principal.key_id,
            continues=None if part is None else part.continued,
        )
        body = exchange.body if part is None else part.body
        stream = self._open_stream(
            replica.neuron_id, replica.epoch, _encoder.encode(lead), body, relay
        )
        if stream is None:
            return False
        self.inflight.add(replica.neuron_id, replica.model_id)
        self.waiting.admission.begin(replica.model_id, relay.principal.key_id)
        if relay.waits:
            self.waiting.sent(relay)
        relay.sent(replica, stream)
        return True

    def unseat(self, relay: Relay, *, served: bool) -> None:
        """A request is no longer on its replica, if it was; `served`: it had its whole answer."""
        since_s, replica = relay.seated_s, relay.replica
        if since_s is None or replica is None:
            return
        relay.seated_s = None
        model_id = replica.model_id
        self.inflight.remove(replica.neuron_id, model_id)
        served_s = self.now() - since_s if served else None
        self.waiting.admission.end(model_id, relay.principal.key_id, served_s)

    # ── the way out ───────────────────────────────────────────────────────────────────────────

    def conclude(self, relay: Relay) -> None:
        """Book a request; called once for each relay, before its caller sees the end."""
        self._live.pop(relay, None)
        if relay.waits:
            self.waiting.leave(relay)
        replica = relay.replica
        duration_ms = (self.now() - relay.started_s) * 1e3
        if replica is not None:
            self.unseat(relay, served=relay.outcome is Outcome.OK)
            if self.failover.troubled:
                self.failover.note_end(relay, replica)
        first_s = relay.first_byte_s
        self._record(
            Record(
                relay.exchange.request_id,
                relay.head.operation,
                relay.principal.key_id,
                relay.model_id,
                replica.neuron_id if replica is not None else "",
                relay.head.stream,
                relay.status,
                relay.outcome,
                relay.code,
                duration_ms,
                None if first_s is None else (first_s - relay.started_s) * 1e3,
                relay.bytes_out,
                relay.trailer,
                relay.attempts,
                relay.because,
                relay.kept.resumes,
            )
        )
        if replica is not None and self.waiting.admission.tickets:
            self.waiting.let_in(replica.model_id)

    def refuse(self, exchange: Exchange, operation: Operation, refusal: Refusal) -> None:
        """Answer a request that never became a relay, and book it as refused."""
        self._record(
            Record(
                request_id=exchange.request_id,
                operation=operation,
                key_id="",
                model="",
                neuron="",
                stream=False,
                status=refusal.status,
                outcome=outcome_of(refusal),
                code=refusal.code.value,
                duration_ms=0.0,
                first_byte_ms=None,
                bytes_out=0,
                trailer=None,
                attempts=0,
                because=refusal.because,
            )
        )
        status, lines, body = refusal_answer(refusal, exchange.request_id)
        exchange.respond(status, lines + self.extra_lines(exchange), body)

    def asked_of(self, relay: Relay) -> RoutingRequest:
        """Return what routing has to know of a request."""
        return RoutingRequest(
            request_id=relay.exchange.request_id,
            model=relay.head.model,
            workload_class=relay.workload_class,
            operation=relay.head.operation,
            excluded=relay.excluded,
            prompt_tokens_min=relay.head.prompt_tokens_min,
            tools=relay.head.tools,
            json_schema=relay.head.json_schema,
        )

    # ── time and the end ──────────────────────────────────────────────────────────────────────

    def sweep(self) -> None:
        """Look at every request once: commits, keepalives, timeouts."""
        now_s = self.now()
        for relay in list(self._live):
            if not relay.over:
                relay.tick(now_s)
        self.waiting.sweep(now_s)

    def drain(self) -> None:
        """Take nothing new and send away what waits; what is at work may finish."""
        self.draining = True
        self.waiting.send_away(_STOPPING)

    def abandon_all(self, because: str) -> None:
        """End every request that is still running; for the end of a drain."""
        for relay in list(self._live):
            relay.abandon(Refusal(ErrorCode.SHUTTING_DOWN, because))


def _text(header: bytes) -> str:
    return header[:128].decode("ascii", "ignore")
