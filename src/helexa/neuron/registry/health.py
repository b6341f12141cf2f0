"""How a neuron is doing, told from what went wrong lately. Pure and bounded."""

from collections import deque
from typing import Final

from helexa.protocol.ids import ModelId
from helexa.protocol.neuron import NeuronHealth

WINDOW_S: Final = 300.0
FAILURES_MAX: Final = 1000
LATENCY_WEIGHT: Final = 0.1
"""Share of the newest value in the moving average; about the last twenty count."""


class HealthLog:
    """Failures inside a sliding window, failed spawns and commands per model, average latency."""

    __slots__ = ("_applies", "_failures", "_latency_ms", "_spawns", "_window_s")

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._failures: deque[float] = deque(maxlen=FAILURES_MAX)
        self._spawns: dict[ModelId, int] = {}
        self._applies: dict[ModelId, int] = {}
        self._latency_ms: float | None = None

    def request_ended(self, now: float, latency_ms: float | None, *, failed: bool) -> None:
        """A request ended: `latency_ms` to its first token; `failed` if the engine was to blame."""
        if failed:
            self._failures.append(now)
        if latency_ms is None:
            return
        before = self._latency_ms
        self._latency_ms = (
            latency_ms if before is None else before + LATENCY_WEIGHT * (latency_ms - before)
        )

    def spawn_failed(self, model_id: ModelId, now: float) -> None:
        """An engine did not come up, or died."""
        self._failures.append(now)
        self._spawns[model_id] = self._spawns.get(model_id, 0) + 1

    def spawned(self, model_id: ModelId) -> None:
        """An engine serves: earlier failures of this model are over."""
        self._spawns.pop(model_id, None)

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
        )
