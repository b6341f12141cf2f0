"""One request, top to bottom: who, what, where, and off it goes. Answers come back in `relay`.

`handle` never waits. What must wait, for a model or for a seat, is a relay without a stream in
`waiting`; what a neuron gave up goes through `failover`; what takes time is looked at by one sweep
for all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from helexa.cortex.gateway.admission import Admission, LineLimits
from helexa.cortex.gateway.auth import credential_of
from helexa.cortex.gateway.classify import BulkThresholds, workload_class
from helexa.cortex.gateway.decisions import Decisions
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.failover import Failover, may_try_again
from helexa.cortex.gateway.headers import refusal_answer
from helexa.cortex.gateway.inflight import Inflight
from helexa.cortex.gateway.metering import Outcome, Record, outcome_of
from helexa.cortex.gateway.neuron_words import AnswerHeads
from helexa.cortex.gateway.rate_limit import UNLIMITED
from helexa.cortex.gateway.relay import Relay
from helexa.cortex.gateway.resume import NOT_KEPT, KeptBytes
from helexa.cortex.gateway.retry_budget import RetryBudget
from helexa.cortex.gateway.steering import asked_of, route_line
from helexa.cortex.gateway.waiting import WaitingRoom
from helexa.cortex.orchestrator.events import ModelWanted, RequestOutcome
from helexa.cortex.orchestrator.requests import RoutingDecision, RoutingRequest
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, Replica
from helexa.protocol.dialects.dialect import OPENAI, Dialect, in_dialect
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import OpenHead
from helexa.protocol.ports import Authenticator, Principal, RateLimiter
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
    limiter: RateLimiter = UNLIMITED
    """Asked once for each request, before it is routed."""
    router: Router = field(default_factory=Router)


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
        self.router = seams.router
        self.decisions = Decisions(seams.now)
        self.room = WaitingRoom(
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
        self._record = self.decisions.after(seams.record)
        self._limiter = seams.limiter
        self.retried = seams.retried
        self._authenticator = authenticator
        self._live: dict[Relay, None] = {}

    def __len__(self) -> int:
        return len(self._live)

    @property
    def held(self) -> int:
        """Return how many requests wait for a model."""
        return self.room.held

    def waiting(self) -> dict[ModelId, int]:
        """Return how many requests of each model have no replica yet."""
        return self.room.by_model()

    @property
    def streams(self) -> int:
        """Return how many requests with a streamed answer are not over."""
        return sum(relay.head.stream for relay in self._live)

    @property
    def newest(self) -> Relay | None:
        """Return the request that came last, of those that are not over."""
        return next(reversed(self._live), None)

    # ── the way in ────────────────────────────────────────────────────────────────────────────

    def handle(self, exchange: Exchange, operation: Operation, dialect: Dialect = OPENAI) -> None:
        """Take one request: authenticate, read, and dispatch or refuse it."""
        # The routes have judged the head already, and noted who it is from.
        principal = exchange.context
        if not isinstance(principal, Principal):
            who = self._authenticator.authenticate(credential_of(exchange.headers), exchange.peer)
            if isinstance(who, Refusal):
                self.refuse(exchange, operation, who, dialect)
                return
            principal = who
        head = dialect.read(operation, exchange.body)
        if isinstance(head, Refusal):
            self.refuse(exchange, operation, head, dialect)
            return
        refusal = self._refusal_of(exchange, principal, head)
        if refusal is not None:
            self.refuse(exchange, operation, refusal, dialect)
            return
        work = workload_class(head, self._bulk)
        relay = Relay(self, exchange, head, principal, work, self.now(), dialect)
        self._live[relay] = None
        self.failover.budget.earn()
        exchange.on_gone = relay.on_gone
        exchange.on_resume = relay.on_resume
        try:
            if not self.room.has_to_wait(relay):
                self.dispatch(relay)
        except BaseException:
            self._live.pop(relay, None)
            raise

    def _refusal_of(
        self, exchange: Exchange, principal: Principal, head: RequestHead
    ) -> Refusal | None:
        """Return why a good request is not taken all the same."""
        if self.draining:
            return _STOPPING
        limited = self._limiter.refusal_of(principal, head.operation, head.model, self.now())
        if limited is not None:
            return limited
        if len(self._live) >= self.settings.requests_in_flight_max:
            because = f"{len(self._live)} requests are being worked on already"
            return Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because)
        quarantine = self.failover.quarantine
        return quarantine.refusal_of(exchange.body, self.now()) if quarantine.blocked else None

    def dispatch(self, relay: Relay) -> None:
        """Send a request to the best replica; let it wait; or refuse it."""
        while True:
            snapshot = self.snapshot()
            asked = asked_of(relay, snapshot, self.router)
            decision = route(asked, snapshot, self.inflight.on, self.router)
            self.decisions.note(asked, snapshot, decision, self.inflight.counts())
            if isinstance(decision, Refusal):
                self.room.receive(relay, decision)
                return
            replica = decision.replica
            if relay.kept is NOT_KEPT or replica.capability.resume:
                relay.attempts += 1
                if self._send(relay, replica):
                    self._note_route(relay, asked, decision)
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
        exchange, principal = relay.exchange, relay.principal
        parent = exchange.headers.get(b"traceparent", b"")
        part = relay.kept.continuation
        lead = OpenHead(
            request_id=exchange.request_id,
            model=replica.model_id,
            operation=head.operation,
            stream=head.stream,
            include_usage=head.include_usage,
            traceparent=parent[:128].decode("ascii", "ignore"),
            principal=principal.key_id,
            tenant="" if principal.anonymous or self.router.realms.shared else principal.owner,
            continues=None if part is None else part.continued,
        )
        if relay.dialect is not OPENAI:
            lead = in_dialect(lead, relay.dialect)
        body = exchange.body if part is None else part.body
        stream = self._open_stream(
            replica.neuron_id, replica.epoch, _encoder.encode(lead), body, relay
        )
        if stream is None:
            return False
        relay.beside_first = self.inflight.add(replica.neuron_id, replica.model_id)
        self.room.admission.begin(replica.model_id, principal.key_id)
        if relay.waits:
            self.room.sent(relay)
        relay.sent(replica, stream)
        return True

    def unseat(self, relay: Relay, *, served: bool) -> None:
        """A request is no longer on its replica, if it was; `served`: it had its whole answer."""
        since_s, replica = relay.seated_s, relay.replica
        if since_s is None or replica is None:
            return
        relay.seated_s = None
        self._unroute(relay)
        model_id = replica.model_id
        relay.beside_last = self.inflight.remove(replica.neuron_id, model_id)
        served_s = self.now() - since_s if served else None
        self.room.admission.end(model_id, relay.principal.key_id, served_s)

    def _note_route(self, relay: Relay, asked: RoutingRequest, decision: RoutingDecision) -> None:
        if decision.eligible > 1:
            relay.routed = (asked, decision)
            self.router.sent(asked, decision)
        if self.router.shown:
            own = relay.dialect.answer_lines(asked.request_id)
            relay.own_lines = own + route_line(decision)

    def _unroute(self, relay: Relay) -> None:
        """Tell the router that a request has left its replica, and how well that one did."""
        if relay.routed is not None:
            request, decision = relay.routed
            relay.routed = None
            # The numbers of a stream that went on elsewhere are those of several replicas.
            alone = relay.over and relay.outcome is Outcome.OK and not relay.kept.resumes
            self.router.ended(request, decision, relay.trailer if alone else None)

    # ── the way out ───────────────────────────────────────────────────────────────────────────

    def conclude(self, relay: Relay) -> None:
        """Book a request; called once for each relay, before its caller sees the end."""
        self._live.pop(relay, None)
        if relay.waits:
            self.room.leave(relay)
        replica = relay.replica
        duration_ms = (self.now() - relay.started_s) * 1e3
        if replica is not None:
            self.unseat(relay, served=relay.outcome is Outcome.OK)
            if self.failover.troubled or replica.probing:
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
                relay.beside_first,
                relay.beside_last,
            )
        )
        if replica is not None and self.room.admission.tickets:
            self.room.let_in(replica.model_id)

    def refuse(
        self,
        exchange: Exchange,
        operation: Operation,
        refusal: Refusal,
        dialect: Dialect = OPENAI,
    ) -> None:
        """Answer a request that never became a relay, and book it as refused."""
        self._record(
            Record(
                request_id=exchange.request_id,
                operation=operation,
                key_id="",
                model="",
                neuron="",
                stream=False,
                status=dialect.status_of(refusal),
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
        status, lines, body = refusal_answer(refusal, exchange.request_id, dialect)
        lines += dialect.answer_lines(exchange.request_id) + self.extra_lines(exchange)
        exchange.respond(status, lines, body)

    # ── time and the end ──────────────────────────────────────────────────────────────────────

    def sweep(self) -> None:
        """Look at every request once: commits, keepalives, timeouts."""
        now_s = self.now()
        for relay in list(self._live):
            if not relay.over:
                relay.tick(now_s)
        self.room.sweep(now_s)

    def drain(self) -> None:
        """Take nothing new and send away what waits; what is at work may finish."""
        self.draining = True
        self.room.send_away(_STOPPING)

    def abandon_all(self, because: str) -> None:
        """End every request that is still running; for the end of a drain."""
        for relay in list(self._live):
            relay.abandon(Refusal(ErrorCode.SHUTTING_DOWN, because))
