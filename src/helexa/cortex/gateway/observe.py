"""What the gateway tells of its requests: one log line each, and the metrics.

Series are looked up once for each combination and kept, since looking up costs more than counting.
"""

from collections.abc import Callable
from typing import Any, Final

from helexa.cortex.gateway.metering import LineBudget, Outcome, Record, access_fields
from helexa.protocol.workload import Operation
from helexa.util.metrics import FIRST_TOKEN_S, LATENCY_S, Cell, Metrics, Observer

LINES_PER_SECOND: Final = 100
MODELS_MAX: Final = 200
_QUIET: Final = frozenset({Outcome.OK, Outcome.CLIENT_ERROR, Outcome.CANCELLED})

_Series = tuple[Cell, Observer, Observer, Cell, Cell]


class RequestObserver:
    """Takes every `Record`. Error lines are always written, ordinary ones up to a rate."""

    def __init__(self, metrics: Metrics, logger: Any, now: Callable[[], float]) -> None:
        self._metrics = metrics
        self._logger = logger
        self._now = now
        self._lines = LineBudget(LINES_PER_SECOND)
        self._series: dict[tuple[str, Operation, Outcome, str], _Series] = {}
        self._models: set[str] = set()

    def record(self, record: Record) -> None:
        """Count a request and write its line."""
        self._count(record)
        if record.outcome in _QUIET and not self._lines.allows(self._now()):
            return
        held_back = self._lines.take_suppressed()
        fields = access_fields(record)
        if held_back:
            fields["lines_suppressed"] = held_back
        write = self._logger.info if record.outcome in _QUIET else self._logger.warning
        write("request", **fields)

    def _count(self, record: Record) -> None:
        # Only models that a replica answered for get a label; a caller's inventions do not.
        model = record.model if record.neuron else "other"
        key = (model, record.operation, record.outcome, record.code)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._new_series(record, model)
        requests, duration, first_byte, prompt_tokens, output_tokens = series
        requests.inc()
        duration.observe(record.duration_ms / 1e3)
        if record.stream and record.first_byte_ms is not None:
            first_byte.observe(record.first_byte_ms / 1e3)
        usage = record.trailer.usage if record.trailer is not None else None
        if usage is not None:
            prompt_tokens.inc(usage.prompt_tokens)
            output_tokens.inc(usage.completion_tokens)

    def _new_series(self, record: Record, model: str) -> _Series:
        if len(self._models) >= MODELS_MAX and model not in self._models:
            model = "other"
        self._models.add(model)
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
            metrics.counter("helexa_tokens_total", "Tokens.", model=model, type="input"),
            metrics.counter("helexa_tokens_total", "Tokens.", model=model, type="output"),
        )
