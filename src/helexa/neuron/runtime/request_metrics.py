"""The numbers that one request leaves behind on a neuron."""

from typing import Final

from helexa.protocol.inference import Usage
from helexa.util.metrics import FIRST_TOKEN_S, LATENCY_S, Metrics

_REQUESTS: Final = "Requests by how they ended"
_DURATION: Final = "From the first byte of a request to the last of its answer"
_FIRST_TOKEN: Final = "From a seat in the engine to the first token"  # noqa: S105  (no password)
_QUEUE: Final = "Wait for a seat"
_TOKENS: Final = "Tokens as counted by the engines"

OK: Final = "ok"
CLIENT_ERROR: Final = "client_error"
REJECTED: Final = "rejected"
UPSTREAM_ERROR: Final = "upstream_error"
TIMEOUT: Final = "timeout"
CANCELLED: Final = "cancelled"


class RequestMetrics:
    """Writes the metrics of requests; labels are from closed sets and the models known here."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._inflight = metrics.gauge(
            "helexa_neuron_requests_inflight", "Requests that this neuron works on or holds"
        )

    def inflight(self, count: int) -> None:
        """Tell how many requests there are now."""
        self._inflight.set(count)

    def ended(self, model: str, operation: str, outcome: str, duration_s: float) -> None:
        """A request is over."""
        self._metrics.counter(
            "helexa_neuron_requests_total", _REQUESTS,
            model=model, operation=operation, outcome=outcome,
        ).inc()  # fmt: skip
        self._metrics.histogram(
            "helexa_neuron_request_duration_seconds", _DURATION, LATENCY_S,
            model=model, operation=operation, outcome=outcome,
        ).observe(duration_s)  # fmt: skip

    def seated(self, model: str, waited_s: float) -> None:
        """A request got its seat."""
        self._metrics.histogram(
            "helexa_neuron_queue_duration_seconds", _QUEUE, FIRST_TOKEN_S, model=model
        ).observe(waited_s)

    def first_token(self, model: str, operation: str, after_s: float) -> None:
        """The first token of an answer went out."""
        self._metrics.histogram(
            "helexa_neuron_time_to_first_token_seconds", _FIRST_TOKEN, FIRST_TOKEN_S,
            model=model, operation=operation,
        ).observe(after_s)  # fmt: skip

    def tokens(self, model: str, usage: Usage) -> None:
        """Count what the engine counted; cached and reasoning are parts, told by themselves."""
        for kind, count in (
            ("input", usage.prompt_tokens - usage.cached_tokens),
            ("cached_input", usage.cached_tokens),
            ("output", usage.completion_tokens - usage.reasoning_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if count > 0:
                self._metrics.counter(
                    "helexa_neuron_tokens_total", _TOKENS, model=model, type=kind
                ).inc(count)
