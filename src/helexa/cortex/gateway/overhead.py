"""What the gateway itself adds to a request, by stage: one request in `SAMPLE_EVERY` is timed.

Timing each would cost as much as some of the stages. A stage counts down by itself, so those of
one request are not timed together.
"""

from collections.abc import Callable
from typing import Final

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.relay import Relay
from helexa.util.metrics import Metrics

SAMPLE_EVERY: Final = 64
OVERHEAD_S: Final = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25,
)  # fmt: skip
"""Ordinary requests lie below a tenth of a millisecond; the rest tells of a loop that is busy."""
_TEXT: Final = "What the gateway adds to a request; one in 64 is timed"


class Overhead:
    """The histograms of the stages. `now` is monotonic, in seconds."""

    def __init__(self, metrics: Metrics, now: Callable[[], float]) -> None:
        self.now = now
        self._admission, self._parse, self._dispatch, self._settle = (
            metrics.histogram("helexa_overhead_seconds", _TEXT, OVERHEAD_S, stage=stage)
            for stage in ("admission", "parse", "dispatch", "settle")
        )

    def admitted(self, began_s: float) -> None:
        """A head was judged: route, key, sizes."""
        self._admission.observe(self.now() - began_s)

    def settled(self, began_s: float) -> None:
        """The end of a request was noted, and written to the log."""
        self._settle.observe(self.now() - began_s)

    def handled(self, began_s: float, exchange: Exchange, newest: Relay | None) -> None:
        """A whole request was taken; only one that is on its way to a neuron is counted."""
        if newest is None or newest.exchange is not exchange or newest.stream is None:
            return
        self._parse.observe(newest.started_s - began_s)
        self._dispatch.observe(newest.heard_s - newest.started_s)
