"""The bounds of a neuron's requests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """Bounds of the executor and of each request."""

    body_bytes_max: int = 32 << 20
    bodies_bytes_max: int = 512 << 20
    """Bodies in memory, of all requests together."""
    requests_max: int = 16_384
    collect_s: float = 60.0
    """For a request's body to arrive."""
    stall_s: float = 30.0
    """Silence of an engine that is tolerated after its first token."""
    sweep_s: float = 0.25


class BodyBudget:
    """Bytes of request bodies that all requests together may hold."""

    __slots__ = ("_left",)

    def __init__(self, allowed_bytes: int) -> None:
        self._left = allowed_bytes

    def take(self, byte_count: int) -> bool:
        """Take bytes out of the budget; False once it is overdrawn."""
        self._left -= byte_count
        return self._left >= 0

    def give(self, byte_count: int) -> None:
        """Give back what a request took."""
        self._left += byte_count
