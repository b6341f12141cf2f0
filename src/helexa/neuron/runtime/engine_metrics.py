"""What the running engines tell of themselves, and what memory they hold; asked on demand.

Each engine has a reading of its own, so that one that is busy or hangs hides no other. A question
is one small GET, seldom and never two at once, which engines answer between two steps.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from helexa.model_runtime.engines.readings import ENGINE_SERIES, read_metrics
from helexa.model_runtime.interfaces import EngineDescription
from helexa.neuron.registry.commands import RunningModel
from helexa.neuron.runtime.engine_asking import ASKING_ERRORS, EngineAsker
from helexa.neuron.runtime.sampler import Sampler, in_own_thread
from helexa.neuron.runtime.supervisor_ports import MemoryMeter
from helexa.util.metrics import Metrics
from helexa.util.tasks import TaskScope

FRESH_S: Final = 2.0
ANSWER_LIMIT_S: Final = 1.0
PAGE_BYTES_MAX: Final = 2 << 20
"""A vLLM with several workers tells some hundred kilobytes; what is past the bound is not read."""
VERSION_CHARS_MAX: Final = 64
_MEMORY: Final = "helexa_engine_rss_bytes"
_INFO: Final = "helexa_engine_info"


@dataclass(frozen=True, slots=True)
class _Reading:
    memory_bytes: int | None
    numbers: Mapping[str, float]
    """By our names."""


class EngineMetrics:
    """The series of the engines that `running` tells; those of an engine end with it."""

    def __init__(
        self,
        metrics: Metrics,
        running: Callable[[], list[tuple[RunningModel, MemoryMeter | None]]],
        descriptions: Mapping[str, EngineDescription],
        *,
        tasks: TaskScope,
        now: Callable[[], float],
    ) -> None:
        self._metrics = metrics
        self._running = running
        self._descriptions = descriptions
        self._tasks = tasks
        self._now = now
        self._asker = EngineAsker()
        self._samplers: dict[int, Sampler[_Reading]] = {}
        self._versions: dict[int, str] = {}

    async def close(self) -> None:
        """Close the connections to engines."""
        await self._asker.close()

    async def collect(self, wait_s: float) -> None:
        """Set all series within `wait_s`; what an engine does not tell in time is left out."""
        running = self._running()
        attempts = {model.attempt for model, _ in running}
        for kept in (self._samplers, self._versions):
            for attempt in kept.keys() - attempts:
                del kept[attempt]
        async with asyncio.TaskGroup() as group:
            asked = [
                (model, group.create_task(self._sampler(model, meter).latest(wait_s)))
                for model, meter in running
            ]
        self._metrics.clear(_INFO, _MEMORY, *(series.name for series in ENGINE_SERIES))
        for model, answer in asked:
            self._tell(model, answer.result())

    def _tell(self, model: RunningModel, reading: _Reading | None) -> None:
        metrics, model_id = self._metrics, model.model_id
        version = self._versions.get(model.attempt, "")
        metrics.gauge(
            _INFO, "Always 1", model=model_id, engine=model.engine, version=version
        ).set(1)  # fmt: skip
        if reading is None:
            return
        if reading.memory_bytes is not None:
            metrics.gauge(
                _MEMORY, "Memory that the engine's processes hold", model=model_id
            ).set(reading.memory_bytes)  # fmt: skip
        for series in ENGINE_SERIES:
            value = reading.numbers.get(series.name)
            if value is not None:
                new = metrics.counter if series.is_counter else metrics.gauge
                new(series.name, series.text, model=model_id).set(value)

    def _sampler(self, model: RunningModel, meter: MemoryMeter | None) -> Sampler[_Reading]:
        if model.attempt not in self._samplers:
            self._samplers[model.attempt] = Sampler(
                lambda: self._read(model, meter),
                f"metrics of {model.worker_id}",
                tasks=self._tasks,
                now=self._now,
                fresh_s=FRESH_S,
            )
        return self._samplers[model.attempt]

    async def _read(self, model: RunningModel, meter: MemoryMeter | None) -> _Reading:
        memory_bytes = None if meter is None else await in_own_thread(meter)
        instruments = self._descriptions[model.engine].instruments
        if instruments is None:
            return _Reading(memory_bytes, {})
        page = await self._get(model, instruments.metrics_path)
        if model.attempt not in self._versions:
            told = await self._get(model, instruments.version_path)
            if told:
                self._versions[model.attempt] = _version(told, instruments.version_field)
        return _Reading(memory_bytes, read_metrics(page))

    async def _get(self, model: RunningModel, path: str) -> bytes:
        """Return a page of an engine; b"" where there is none, or not in time."""
        try:
            status, page = await self._asker.ask(
                "GET", model, path, None, ANSWER_LIMIT_S, bytes_max=PAGE_BYTES_MAX
            )
        except ASKING_ERRORS:
            return b""
        if status != 200:
            return b""
        # A page that was cut off ends within a line, whose number would be wrong.
        return page if len(page) < PAGE_BYTES_MAX else page[: page.rfind(b"\n") + 1]


def _version(page: bytes, field: str) -> str:
    try:
        found = msgspec.json.decode(page)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    version = found.get(field) if isinstance(found, dict) else None
    return version[:VERSION_CHARS_MAX] if isinstance(version, str) else ""
