"""A limiter that refuses."""

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Principal
from helexa.protocol.workload import Operation


class OnePerSecond:
    """Lets one request of each caller in each second."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Operation, str | None]] = []
        self._last_s: dict[str, float] = {}

    def refusal_of(
        self, principal: Principal, operation: Operation, model: str | None, now_s: float
    ) -> Refusal | None:
        self.asked.append((principal.key_id, operation, model))
        last_s = self._last_s.get(principal.key_id)
        if last_s is not None and now_s - last_s < 1.0:
            because = "1 request a second is allowed"
            return Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because, retry_after_s=1)
        self._last_s[principal.key_id] = now_s
        return None
