"""One request, top to bottom: who, what, where, and off it goes. Answers come back in `relay`.

`handle` never waits. What must wait (a model that is loading) is held as a relay without a
stream, and woken by the next snapshot; what takes time is looked at by one sweep for all.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from helexa.cortex.gateway.auth import credential_of
from helexa.cortex.gateway.classify import workload_class
from helexa.cortex.gateway.decisions import Decisions
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.headers import refusal_answer
from helexa.cortex.gateway.inflight import Inflight
from helexa.cortex.gateway.loading import load_comment, still_loading
from helexa.cortex.gateway.metering import Outcome, Record, outcome_of
from helexa.cortex.gateway.rate_limit import UNLIMITED
from helexa.cortex.gateway.relay import KEEPALIVE, AnswerHead, Relay
from helexa.cortex.gateway.steering import asked_of, route_line
from helexa.cortex.orchestrator.circuit import TROUBLE_S
from helexa.cortex.orchestrator.events import ModelWanted, RequestOutcome
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import find_model, route
from helexa.cortex.orchestrator.snapshot import FleetSnapshot, ModelView, Replica
from helexa.protocol.dialects import openai
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.inference import OpenHead
from helexa.protocol.ports import Authenticator, Principal, RateLimiter
from helexa.protocol.tunnel import Stream, StreamHandler
from helexa.protocol.workload import Operation

ATTEMPTS_MAX: Final = 2
"""One retry a request: more would multiply a fleet's trouble by the number of its neurons."""
TROUBLED_MAX: Final = 4096
"""Replicas whose failures are kept in mind; of more, the first is forgotten."""
_encoder: Final = msgspec.json.Encoder()


class Limits(Protocol):
    """The settings that a request meets (`config.cortex.GatewaySettings`), in seconds."""

    first_byte_timeout_s: float
    idle_timeout_s: float
    keepalive_interval_s: float
    commit_after_s: float
    hold_for_load_s: float
    requests_held_max: int
    requests_in_flight_max: int


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
        self.answer_heads: dict[bytes, AnswerHead] = {}
        """Heads of whole answers as neurons wrote them: nearly all are the same few."""
        self.router = seams.router
        self._snapshot = seams.snapshot
        self._report = seams.report
        self._open_stream = seams.open_stream
        self.decisions = Decisions(seams.now)
        self._record = self.decisions.after(seams.record)
        self._limiter = seams.limiter
        self._retried = seams.retried
        self._authenticator = authenticator
        self._live: dict[Relay, None] = {}
        self._held: dict[Relay, None] = {}
        self._troubled: dict[tuple[NeuronId, ModelId], float] = {}
        """Replicas that failed, and until when their successes are told, too."""

    def __len__(self) -> int:
        return len(self._live)

    @property
    def held(self) -> int:
        """Return how many requests wait for a model."""
        return len(self._held)

    def waiting(self) -> dict[ModelId, int]:
        """Return how many requests of each model have no replica yet."""
        counts: dict[ModelId, int] = {}
        for relay in self._live:
            if relay.replica is None and not relay.over:
                model = self._model_of(relay)
                if model is not None:
                    counts[model.config.id] = counts.get(model.config.id, 0) + 1
        return counts

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
            because = "this server is stopping; try again shortly"
            self.refuse(exchange, operation, Refusal(ErrorCode.SHUTTING_DOWN, because))
            return
        limited = self._limiter.refusal_of(principal, operation, head.model, self.now())
        if limited is not None:
            self.refuse(exchange, operation, limited)
            return
        if len(self._live) >= self.settings.requests_in_flight_max:
            because = f"{len(self._live)} requests are being worked on already"
            self.refuse(exchange, operation, Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because))
            return
        relay = Relay(self, exchange, head, principal, workload_class(head), self.now())
        self._live[relay] = None
        exchange.on_gone = relay.on_gone
        exchange.on_resume = relay.on_resume
        try:
            self.dispatch(relay)
        except BaseException:
            self._live.pop(relay, None)
            raise

    def dispatch(self, relay: Relay, otherwise: Refusal | None = None) -> None:
        """Send a request to the best replica; hold it while its model loads; or refuse it.

        `otherwise` is what a second attempt answers where no other replica is left.
        """
        while True:
            snapshot = self._snapshot()
            asked = asked_of(relay, snapshot, self.router)
            decision = route(asked, snapshot, self.inflight.on, self.router)
            self.decisions.note(asked, snapshot, decision, self.inflight.counts())
            if isinstance(decision, Refusal):
                self._hold_or_refuse(relay, decision, otherwise)
                return
            relay.attempts += 1
            if self._send(relay, decision.replica):
                if decision.eligible > 1:
                    relay.routed = (asked, decision)
                    self.router.sent(asked, decision)
                if self.router.shown:
                    relay.route_line = route_line(decision)
                return
            lost = Refusal(ErrorCode.UPSTREAM_CONNECTION_ERROR, "the neuron's connection was lost")
            if relay.attempts >= ATTEMPTS_MAX:
                relay.fail(lost)
                return
            relay.excluded = (*relay.excluded, decision.replica)
            self._retried(decision.replica, lost.code)
            otherwise = lost

    def _send(self, relay: Relay, replica: Replica) -> bool:
        head = relay.head
        exchange = relay.exchange
        parent = exchange.headers.get(b"traceparent", b"")
        lead = OpenHead(
            request_id=exchange.request_id,
            model=replica.model_id,
            operation=head.operation,
            stream=head.stream,
            include_usage=head.include_usage,
            traceparent=parent[:128].decode("ascii", "ignore"),
            principal=relay.principal.key_id,
        )
        stream = self._open_stream(
            replica.neuron_id, replica.epoch, _encoder.encode(lead), exchange.body, relay
        )
        if stream is None:
            return False
        self.inflight.add(replica.neuron_id, replica.model_id)
        relay.sent(replica, stream)
        return True

    # ── waiting for a model ───────────────────────────────────────────────────────────────────

    def _hold_or_refuse(self, relay: Relay, refusal: Refusal, otherwise: Refusal | None) -> None:
        limit_s = self.settings.hold_for_load_s
        if refusal.code is not ErrorCode.MODEL_LOADING or limit_s <= 0:
            relay.fail(otherwise or refusal)
            return
        if relay not in self._held:
            if len(self._held) >= self.settings.requests_held_max:
                because = f"{len(self._held)} requests wait for models already"
                relay.fail(Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because))
                return
            model = self._model_of(relay)
            if model is not None:
                self._report(ModelWanted(model.config.id, cause=relay.exchange.request_id))
            relay.held_until_s = relay.started_s + limit_s
            self._held[relay] = None

    def wake(self) -> None:
        """A new snapshot is out: look at every held request again."""
        for relay in list(self._held):
            if not relay.over:
                self._retry_held(relay)

    def _retry_held(self, relay: Relay) -> None:
        self.dispatch(relay)
        if relay.stream is not None or relay.over:
            self._held.pop(relay, None)
            relay.held_until_s = None

    def expire_held(self, relay: Relay) -> None:
        """A request waited for its model as long as is allowed."""
        self._held.pop(relay, None)
        relay.held_until_s = None
        relay.fail(still_loading(self._model_of(relay), self.settings.hold_for_load_s, self.now()))

    def comment_for(self, relay: Relay) -> bytes:
        """Return the comment that keeps a silent stream alive: how far its model is, or nothing."""
        model = self._model_of(relay) if relay.held_until_s is not None else None
        return KEEPALIVE if model is None else load_comment(model, self.now())

    def _model_of(self, relay: Relay) -> ModelView | None:
        snapshot = self._snapshot()
        model = find_model(asked_of(relay, snapshot, self.router), snapshot)
        return None if isinstance(model, Refusal) else model

    # ── the way out ───────────────────────────────────────────────────────────────────────────

    def broken(self, relay: Relay, refusal: Refusal, *, retry: bool) -> None:
        """A neuron gave a request up: try another replica once, else tell the caller."""
        replica = relay.replica
        assert replica is not None, "a stream without a replica was reset"
        # A crash before the first byte is in the neuron's own report. A request that the neuron
        # refuses for having crashed engines looks the same, and must not take the replica out.
        told = refusal.code is ErrorCode.ENGINE_CRASH and relay.first_byte_s is None
        if outcome_of(refusal) is Outcome.UPSTREAM_ERROR and not told:
            self._note_trouble(relay, replica)
        if not retry or relay.attempts >= ATTEMPTS_MAX:
            relay.fail(refusal)
            return
        self.inflight.remove(replica.neuron_id, replica.model_id)
        self._unroute(relay)
        relay.leave_for_retry()
        self._retried(replica, refusal.code)
        self.dispatch(relay, refusal)

    def _unroute(self, relay: Relay) -> None:
        """Tell the router that a request has left its replica, and how well that one did."""
        if relay.routed is not None:
            request, decision = relay.routed
            relay.routed = None
            went_well = relay.over and relay.outcome is Outcome.OK
            self.router.ended(request, decision, relay.trailer if went_well else None)

    def _note_trouble(self, relay: Relay, replica: Replica) -> None:
        now_s = self.now()
        if len(self._troubled) >= TROUBLED_MAX:
            del self._troubled[next(iter(self._troubled))]
        self._troubled[replica.neuron_id, replica.model_id] = now_s + TROUBLE_S
        latency_ms = (now_s - relay.started_s) * 1e3
        request_id = relay.exchange.request_id
        self._report(
            RequestOutcome(
                replica.neuron_id,
                replica.model_id,
                ok=False,
                latency_ms=latency_ms,
                cause=request_id,
            )
        )

    def _note_success(self, relay: Relay, replica: Replica, now_s: float) -> None:
        """Tell of a success where it matters: after failures, and of a probe."""
        key = (replica.neuron_id, replica.model_id)
        until_s = self._troubled.get(key)
        if until_s is not None and until_s <= now_s:
            del self._troubled[key]
        elif until_s is None and not replica.probing:
            return
        latency_ms = (now_s - relay.started_s) * 1e3
        cause = relay.exchange.request_id
        self._report(RequestOutcome(*key, ok=True, latency_ms=latency_ms, cause=cause))

    def conclude(self, relay: Relay) -> None:
        """Book a request; called once for each relay, before its caller sees the end."""
        self._live.pop(relay, None)
        self._held.pop(relay, None)
        replica = relay.replica
        now_s = self.now()
        duration_ms = (now_s - relay.started_s) * 1e3
        if replica is not None:
            self.inflight.remove(replica.neuron_id, replica.model_id)
            self._unroute(relay)
            if (self._troubled or replica.probing) and relay.outcome is Outcome.OK:
                self._note_success(relay, replica, now_s)
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
            )
        )

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

    # ── time and the end ──────────────────────────────────────────────────────────────────────

    def sweep(self) -> None:
        """Look at every request once: commits, keepalives, timeouts."""
        now_s = self.now()
        for relay in list(self._live):
            if not relay.over:
                relay.tick(now_s)

    def abandon_all(self, because: str) -> None:
        """End every request that is still running; for the end of a drain."""
        for relay in list(self._live):
            relay.abandon(Refusal(ErrorCode.SHUTTING_DOWN, because))
