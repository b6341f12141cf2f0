"""How often a model failed lately, and when it may be tried again. Pure."""

import zlib
from dataclasses import dataclass, field

from helexa.neuron.registry.limits import Limits


def spread(text: str) -> float:
    """Return a number in [0.5, 1.0) that depends only on `text`.

    It takes the place of random jitter: models that died together (of one driver fault, say) are
    not started again together, and the delay of each is the same in every run.
    """
    return 0.5 + (zlib.crc32(text.encode()) & 0xFFFF) / 0x20000


@dataclass(slots=True)
class FailureHistory:
    """Failures of one model. `count` is in a row; `times` are those inside the crash window."""

    count: int = 0
    times: list[float] = field(default_factory=list)
    looping: bool = False

    def note(self, model_id: str, now: float, limits: Limits) -> float:
        """Count a failure; return the seconds to wait before the next try."""
        self.count += 1
        self.times = [at for at in self.times if now - at < limits.crash_window_s]
        self.times.append(now)
        self.looping = len(self.times) >= limits.crashes_max
        if self.looping:
            # The trial after the pause starts a new count.
            self.times.clear()
            return limits.crash_pause_s
        entropy = spread(f"{model_id} {self.count}")
        return limits.retry.delay_s(self.count - 1, entropy)

    def forgive(self) -> None:
        """Forget all failures: it served for a while, or its config changed."""
        self.count = 0
        self.times.clear()
        self.looping = False
