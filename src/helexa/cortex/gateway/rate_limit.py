"""The limiter that limits nobody: what a gateway has where none is configured. Pure."""

from typing import Final

from helexa.protocol.errors import Refusal
from helexa.protocol.ports import Principal
from helexa.protocol.workload import Operation


class NoLimit:
    """Lets every request in (`protocol.ports.RateLimiter`)."""

    def refusal_of(
        self, principal: Principal, operation: Operation, model: str | None, now_s: float
    ) -> Refusal | None:
        """Return None: nothing is refused."""
        return None


UNLIMITED: Final = NoLimit()
