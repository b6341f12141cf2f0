"""The numbers that one request leaves behind on a neuron."""

from typing import Final

from helexa.protocol.inference import Usage
from helexa.util.metrics import FIRST_TOKEN_S, LATENCY_S, Cell, Metrics, Observer

_REQUESTS: Final = "Requests by how they ended"
_DURATION: Final = "From the whole request to the end of its answer"
_FIRST_TOKEN: Final = "From the whole request to its first token, waiting included"  # noqa: S105  (no password)
_QUEUE: Final = "Wait for a seat"
_TOKENS: Final = "Tokens as counted by the engines"

OK: Final = "ok"
CLIENT_ERROR: Final = "client_error"
REJECTED: Final = "rejected"
UPSTREAM_ERROR: Final = "upstream_error"
TIMEOUT: Final = "timeout"
CANCELLED: Final = "cancelled"


class RequestMetrics:
    """Writes the metrics of requests; labels are from closed sets and the models known here.

    Series are looked up once and kept: by name and labels a look-up costs more than the number.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.inflight = metrics.gauge(
            "helexa_neuron_requests_inflight", "Requests that this neuron works on or holds"
        ).set
        """Tell how many requests there are now."""
        self._ended: dict[tuple[str, str, str], tuple[Cell, Observer]] = {}
        self._seated: dict[str, Observer] = {}
        self._first: dict[tuple[str, str], Observer] = {}
        self._tokens: dict[str, tuple[Cell, ...]] = {}

    def ended(self, model: str, operation: str, outcome: str, duration_s: float) -> None:
        """A request is over."""
        labels = (model, operation, outcome)
        series = self._ended.get(labels)
        if series is None:
            series = self._ended[labels] = self._ended_series(*labels)
        series[0].inc()
        series[1].observe(duration_s)

    def _ended_series(self, model: str, operation: str, outcome: str) -> tuple[Cell, Observer]:
        labels = {"model": model, "operation": operation, "outcome": outcome}
        return (
            self._metrics.counter("helexa_neuron_requests_total", _REQUESTS, **labels),
            self._metrics.histogram(
                "helexa_neuron_request_duration_seconds", _DURATION, LATENCY_S, **labels
            ),
        )

    def seated(self, model: str, waited_s: float) -> None:
        """A request got its seat."""
        series = self._seated.get(model)
        if series is None:
            series = self._seated[model] = self._metrics.histogram(
                "helexa_neuron_queue_duration_seconds", _QUEUE, FIRST_TOKEN_S, model=model
            )
        series.observe(waited_s)

    def first_token(self, model: str, operation: str, after_s: float) -> None:
        """The first token of an answer went out."""
        series = self._first.get((model, operation))
        if series is None:
            series = self._first[model, operation] = self._metrics.histogram(
                "helexa_neuron_time_to_first_token_seconds", _FIRST_TOKEN, FIRST_TOKEN_S,
                model=model, operation=operation,
            )  # fmt: skip
        series.observe(after_s)

    def tokens(self, model: str, usage: Usage) -> None:
        """Count what the engine counted; cached and reasoning are parts, told by themselves."""
        series = self._tokens.get(model)
        if series is None:
            series = self._tokens[model] = tuple(
                self._metrics.counter("helexa_neuron_tokens_total", _TOKENS, model=model, type=kind)
                for kind in ("input", "cached_input", "output", "reasoning")
            )
        cached, reasoning = usage.cached_tokens, usage.reasoning_tokens
        series[0].inc(usage.prompt_tokens - cached)
        if cached:
            series[1].inc(cached)
        series[2].inc(usage.completion_tokens - reasoning)
        if reasoning:
            series[3].inc(reasoning)
