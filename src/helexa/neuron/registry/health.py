"""How a neuron is doing, told from what went wrong lately. Pure and bounded."""

from collections import deque
from typing import Final

from helexa.protocol.ids import ModelId
from helexa.protocol.inference import Usage
from helexa.protocol.neuron import NeuronHealth

WINDOW_S: Final = 300.0
FAILURES_MAX: Final = 1000
LATENCY_WEIGHT: Final = 0.1
"""Share of the newest value in the moving average; about the last twenty count."""
PACE_TOKENS_MIN: Final = 8
PACE_S_MIN: Final = 0.02
"""A shorter answer, in tokens or in time, says little about how fast an engine writes."""


def writing_pace(
    usage: Usage | None, first_token_ms: float | None, duration_s: float
) -> float | None:
    """Return an answer's tokens per second from the first to the last; None where that is unknown
    or says little.
    """
    if usage is None or first_token_ms is None or usage.completion_tokens < PACE_TOKENS_MIN:
        return None
    spent_s = duration_s - first_token_ms / 1e3
    return (usage.completion_tokens - 1) / spent_s if spent_s >= PACE_S_MIN else None


def _moved(before: float | None, newest: float | None) -> float | None:
    """Return a moving average with one more value in it; None is no value."""
    if newest is None or before is None:
        return before if newest is None else newest
    return before + LATENCY_WEIGHT * (newest - before)


class HealthLog:
    """Failures inside a sliding window, failed spawns and commands per model, average latency
    and pace.
    """

    __slots__ = ("_applies", "_failures", "_latency_ms", "_pace", "_paces", "_spawns", "_window_s")

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._failures: deque[float] = deque(maxlen=FAILURES_MAX)
        self._spawns: dict[ModelId, int] = {}
        self._applies: dict[ModelId, int] = {}
        self._latency_ms: float | None = None
        self._pace: float | None = None
        self._paces: dict[str, float] = {}

    def request_ended(
        self,
        now: float,
        latency_ms: float | None,
        *,
        failed: bool,
        model_id: str = "",
        tokens_per_second: float | None = None,
    ) -> None:
        """A request ended: `latency_ms` to its first token; `failed` if the engine was to blame."""
        if failed:
            self._failures.append(now)
        self._latency_ms = _moved(self._latency_ms, latency_ms)
        self._pace = _moved(self._pace, tokens_per_second)
        if tokens_per_second is not None:
            pace = _moved(self._paces.get(model_id), tokens_per_second)
            self._paces[model_id] = pace if pace is not None else tokens_per_second

    def pace_of(self, model_id: ModelId) -> float | None:
        """Return how fast a model writes one answer, in tokens per second; None if unknown."""
        return self._paces.get(model_id)

    def spawn_failed(self, model_id: ModelId, now: float) -> None:
        """An engine did not come up, or died."""
        self._failures.append(now)
        self._spawns[model_id] = self._spawns.get(model_id, 0) + 1

    def spawned(self, model_id: ModelId) -> None:
        """An engine serves: what was told of earlier ones of this model is over."""
        self._spawns.pop(model_id, None)
        self._paces.pop(model_id, None)

    def apply_failed(self, model_id: ModelId) -> None:
        """A provisioning command for a known model was refused."""
        self._applies[model_id] = self._applies.get(model_id, 0) + 1

    def applied(self, model_id: ModelId) -> None:
        """A provisioning command was taken."""
        self._applies.pop(model_id, None)

    def forget(self, model_id: ModelId) -> None:
        """The model is gone from this neuron."""
        self._spawns.pop(model_id, None)
        self._applies.pop(model_id, None)
        self._paces.pop(model_id, None)

    def read(self, now: float, problems: tuple[str, ...] = ()) -> NeuronHealth:
        """Return the state of health as of `now`."""
        while self._failures and now - self._failures[0] >= self._window_s:
            self._failures.popleft()
        return NeuronHealth(
            problems=problems,
            recent_failures=len(self._failures),
            failed_spawns=dict(self._spawns),
            failed_applies=dict(self._applies),
            latency_ms_average=self._latency_ms,
            tokens_per_second_average=self._pace,
        )
