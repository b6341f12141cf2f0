"""Which of a model's status reports are worth a line in the log. Pure.

A download reports twice a second, for a cortex that shows it. In a log, a line for each tenth is
enough, or one in ten seconds where the whole is not known or slow.
"""

from typing import Final, NamedTuple

from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelStatus

QUIET_S: Final = 10.0


class _Told(NamedTuple):
    because: str
    tenth: int
    at_s: float


class StatusLog:
    """Remembers what was told of each model that is loading."""

    def __init__(self) -> None:
        self._told: dict[ModelId, _Told] = {}

    def allows(self, status: ModelStatus, now: float) -> bool:
        """Tell whether to write a line; `now` is monotonic seconds."""
        if status.state is not ModelState.LOADING:
            self._told.pop(status.model_id, None)
            return True
        told = self._told.get(status.model_id)
        tenth = -1 if status.progress is None else int(status.progress * 10)
        if (
            told is not None
            and (told.because, told.tenth) == (status.because, tenth)
            and now - told.at_s < QUIET_S
        ):
            return False
        self._told[status.model_id] = _Told(status.because, tenth, now)
        return True
