"""What goes over the connections between cortex and neurons; the same series at both ends.

An end counts in plain numbers, since it does so for every message; they are added up here when
somebody asks for metrics.
"""

from typing import Final, Protocol

from helexa.util.metrics import Cell, Metrics

ROUND_TRIP_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Counts(Protocol):
    """What one connection has carried since it was last asked (`protocol.tunnel.Traffic`)."""

    bytes_in: int
    bytes_out: int
    messages_in: int
    messages_out: int
    stalls: int


class TunnelMetrics:
    """The series of all connections of this process together."""

    def __init__(self, metrics: Metrics) -> None:
        def counters(name: str, text: str) -> tuple[Cell, Cell]:
            return (
                metrics.counter(name, text, direction="in"),
                metrics.counter(name, text, direction="out"),
            )

        self._bytes = counters("helexa_tunnel_bytes_total", "Bytes of tunnel messages")
        self._messages = counters("helexa_tunnel_messages_total", "Tunnel messages")
        self._stalls = metrics.counter(
            "helexa_tunnel_flow_stalls_total", "Streams whose sender had to wait for the other end"
        )
        self._round_trips = metrics.histogram(
            "helexa_tunnel_rtt_seconds", "From a ping to its pong", ROUND_TRIP_S
        )

    def take(self, counts: Counts) -> None:
        """Add what a connection has counted, and set it back to nothing."""
        (bytes_in, bytes_out), (messages_in, messages_out) = self._bytes, self._messages
        bytes_in.inc(counts.bytes_in)
        bytes_out.inc(counts.bytes_out)
        messages_in.inc(counts.messages_in)
        messages_out.inc(counts.messages_out)
        self._stalls.inc(counts.stalls)
        counts.bytes_in = counts.bytes_out = counts.messages_in = counts.messages_out = 0
        counts.stalls = 0

    def round_trip(self, seconds: float) -> None:
        """Count the time from a ping to its pong."""
        self._round_trips.observe(seconds)
