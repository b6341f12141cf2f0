"""What the gateway tells of its requests: one log line each, and the metrics.

Series are looked up once for each combination and kept, since looking up costs more than counting.
Requests are counted some at a time: code that runs between two system calls for one request alone
is cold, and costs three times what it costs in a loop.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from helexa.cortex.gateway.metering import (
    LineBudget,
    Outcome,
    Record,
    access_fields,
    outcome_of,
    phase_of,
    time_per_output_token_s,
)
from helexa.cortex.gateway.overhead import SAMPLE_EVERY, Overhead
from helexa.cortex.orchestrator.routing_memory import RoutingMemory
from helexa.cortex.orchestrator.snapshot import Replica
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.protocol.workload import Operation
from helexa.util.metrics import FIRST_TOKEN_S, LATENCY_S, Cell, Metrics, Observer

LINES_PER_SECOND: Final = 100
MODELS_MAX: Final = 200
UNCOUNTED_MAX: Final = 256
_ORDINARY: Final = frozenset({Outcome.OK, Outcome.CANCELLED})
_UPSTREAM: Final = frozenset({Outcome.UPSTREAM_ERROR, Outcome.TIMEOUT})

PER_TOKEN_S: Final = (
    0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip
_TOKENS: Final = "Tokens as counted by the engines; cached input and reasoning by themselves"

_Series = tuple[Cell, Observer, Observer, Observer]


class RequestObserver:
    """Takes every `Record`. Our own error lines are always written, others up to a rate.

    What callers did wrong has a rate of its own: a busy gateway does not hide a client that sends
    nonsense, and such a client does not fill the log.
    """

    def __init__(self, metrics: Metrics, logger: Any, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._logger = logger
        self._now = now
        self._lines = LineBudget(LINES_PER_SECOND)
        self._mistakes = LineBudget(LINES_PER_SECOND)
        self._series: dict[tuple[str, Operation, Outcome, str], _Series] = {}
        self._tokens: dict[tuple[str, str], Cell] = {}
        self._models: set[str] = set()
        self._uncounted: list[Record] = []
        metrics.before_render(self._count_all)
        self._overhead = Overhead(metrics, now)
        self._until_timed = SAMPLE_EVERY

    def record(self, record: Record) -> None:
        """Take note of a request for the next count, and write its line."""
        self._until_timed -= 1
        if not self._until_timed:
            self._until_timed = SAMPLE_EVERY
            began_s = self._now()
            self.record(record)
            self._overhead.settled(began_s)
            return
        uncounted = self._uncounted
        uncounted.append(record)
        if len(uncounted) >= UNCOUNTED_MAX:
            self._count_all()
        ordinary = record.outcome in _ORDINARY
        budget = self._mistakes if record.outcome is Outcome.CLIENT_ERROR else self._lines
        bounded = ordinary or budget is self._mistakes
        if bounded and not budget.allows(self._now()):
            return
        held_back = budget.take_suppressed()
        fields = access_fields(record)
        if held_back:
            fields["lines_suppressed"] = held_back
        write = self._logger.info if ordinary else self._logger.warning
        write("request", **fields)

    def _count_all(self) -> None:
        uncounted, self._uncounted = self._uncounted, []
        for record in uncounted:
            self._count(record)

    def retried(self, replica: Replica, code: ErrorCode) -> None:
        """Count a replica that was given up for another one."""
        self._metrics.counter(
            "helexa_retries_total",
            "Replicas that were given up for another one",
            model=self._label(replica.model_id),
            reason=code.value,
        ).inc()
        if outcome_of(Refusal(code, "")) in _UPSTREAM:
            self._count_upstream(replica.neuron_id, code.value)

    def _count(self, record: Record) -> None:
        # Only models that a replica answered for get a label; a caller's inventions do not.
        model = record.model if record.neuron else "other"
        key = (model, record.operation, record.outcome, record.code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._new_series(record, model)
        requests, duration, first_byte, per_token = series
        requests.inc()
        duration.observe(record.duration_ms / 1e3)
        if record.stream and record.first_byte_ms is not None:
            first_byte.observe(record.first_byte_ms / 1e3)
        if record.attempts > 1:
            self._metrics.counter(
                "helexa_failovers_total",
                "Requests that another neuron took over",
                kind="resume" if record.resumes else "retry",
                outcome=record.outcome,
            ).inc()
        if record.outcome is not Outcome.OK:
            self._count_trouble(record)
        trailer = record.trailer
        if trailer is None or trailer.usage is None:
            return
        usage = trailer.usage
        self._count_tokens(model, "input", usage.prompt_tokens - usage.cached_tokens)
        self._count_tokens(model, "cached_input", usage.cached_tokens)
        self._count_tokens(model, "output", usage.completion_tokens - usage.reasoning_tokens)
        self._count_tokens(model, "reasoning", usage.reasoning_tokens)
        pace_s = time_per_output_token_s(trailer)
        if pace_s is not None:
            per_token.observe(pace_s)

    def _count_trouble(self, record: Record) -> None:
        if record.outcome is Outcome.CANCELLED:
            self._metrics.counter(
                "helexa_client_disconnects_total", "Callers that left", phase=phase_of(record)
            ).inc()
        elif record.outcome in _UPSTREAM and record.neuron:
            self._count_upstream(record.neuron, record.code or "error_status")

    def _count_upstream(self, neuron: str, kind: str) -> None:
        self._metrics.counter(
            "helexa_upstream_errors_total",
            "Attempts that a neuron or its engine failed",
            neuron=neuron,
            kind=kind,
        ).inc()

    def _count_tokens(self, model: str, kind: str, count: int) -> None:
        if count <= 0:
            return
        cell = self._tokens.get((model, kind))
        if cell is None:
            cell = self._tokens[model, kind] = self._metrics.counter(
                "helexa_tokens_total", _TOKENS, model=self._label(model), type=kind
            )
        cell.inc(count)

    def _label(self, model: str) -> str:
        if len(self._models) >= MODELS_MAX and model not in self._models:
            return "other"
        self._models.add(model)
        return model

    def _new_series(self, record: Record, model: str) -> _Series:
        model = self._label(model)
        operation, outcome = record.operation.value, record.outcome.value
        metrics = self._metrics
        return (
            metrics.counter(
                "helexa_requests_total",
                "Requests that ended.",
                model=model,
                operation=operation,
                outcome=outcome,
                code=record.code,
            ),
            metrics.histogram(
                "helexa_request_duration_seconds",
                "From the whole request to the end of its answer.",
                LATENCY_S,
                model=model,
                operation=operation,
                outcome=outcome,
            ),
            metrics.histogram(
                "helexa_time_to_first_token_seconds",
                "From the whole request to the first byte of a streamed answer.",
                FIRST_TOKEN_S,
                model=model,
                operation=operation,
            ),
            metrics.histogram(
                "helexa_time_per_output_token_seconds",
                "Mean time from one token of an answer to the next.",
                PER_TOKEN_S,
                model=model,
            ),
        )


class RouteCounts:
    """Why requests went where they went, counted where there was a choice."""

    def __init__(self, metrics: Metrics, memory: RoutingMemory) -> None:
        self._metrics = metrics
        self._memory = memory
        metrics.before_render(self._count)

    def _count(self) -> None:
        for (model_id, reason), count in self._memory.take_decisions().items():
            self._metrics.counter(
                "helexa_route_decisions_total",
                "Requests that more than one replica could have taken",
                model=model_id,
                reason=reason,
            ).inc(count)


class LoadGauges:
    """What the gateway works on at the moment."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._held = metrics.gauge("helexa_requests_held", "Requests that wait for a model to load")
        self._queued = metrics.gauge("helexa_requests_queued", "Requests that wait for a seat")
        self._streams = metrics.gauge(
            "helexa_streams_open", "Requests with a streamed answer that are not over"
        )
        self._in_flight: dict[ModelId, Cell] = {}

    def update(
        self, in_flight: Mapping[ModelId, int], *, held: int, queued: int, streams: int
    ) -> None:
        """Tell the requests on replicas, those that wait (for a load, for a seat), and streams."""
        self._held.set(held)
        self._queued.set(queued)
        self._streams.set(streams)
        for model in in_flight.keys() - self._in_flight.keys():
            self._in_flight[model] = self._metrics.gauge(
                "helexa_requests_inflight", "Requests that are with a neuron", model=model
            )
        for model, cell in self._in_flight.items():
            cell.set(in_flight.get(model, 0))
