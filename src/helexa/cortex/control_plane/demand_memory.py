"""What was learned of demand, kept over a restart of cortex.

The file is a hint: without it (the first run, a damaged file) everything is learned anew, and the
spec alone says what runs.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from helexa.cache.json_store import JsonStore
from helexa.cortex.orchestrator.events import DemandRestored
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.util.errors import HelexaError
from helexa.util.tasks import TaskScope

FILE_NAME: Final = "demand.json"
SAVE_INTERVAL_S: Final = 30.0
AWAY_S_MAX: Final = 30 * 86400.0
"""A memory older than this has faded to nothing anyhow, or the machine's date was wrong."""


class DemandKeeper:
    """Writes what `learned(wall_s)` returns while it changes, at most once in SAVE_INTERVAL_S."""

    def __init__(
        self,
        state_dir: Path,
        learned: Callable[[float], DemandMemory],
        wall: Callable[[], float],
        logger: Any,
    ) -> None:
        self._store = JsonStore(state_dir / FILE_NAME, DemandMemory)
        self._learned = learned
        self._wall = wall
        self._logger = logger
        self._saving = asyncio.Lock()
        self._saved: DemandMemory | None = None

    def load(self) -> DemandRestored:
        """Return what was kept as an event; a damaged file is set aside and said."""
        loaded = self._store.load(DemandMemory)
        if loaded.problem:
            self._logger.warning("demand_memory_not_used", because=loaded.problem)
        memory = loaded.value
        away_s = self._wall() - memory.wall_s if memory.wall_s else 0.0
        self._saved = memory
        return DemandRestored(memory, away_s=min(max(away_s, 0.0), AWAY_S_MAX))

    def start(self, tasks: TaskScope) -> None:
        """Begin to write in the background."""
        tasks.start(self._keep(), "demand memory")

    async def flush(self) -> str:
        """Write now, if anything was asked or learned; return why not, if so.

        A full disk costs no more than the file. One write at a time, so that none is overtaken by
        an older one.
        """
        async with self._saving:
            memory = self._learned(self._wall())
            if self._saved is not None and not _is_due(memory, self._saved):
                return ""
            try:
                await asyncio.to_thread(self._store.save, memory)
                self._saved = memory
            except HelexaError as error:
                self._logger.warning("demand_memory_not_saved", because=str(error))
                return str(error)
        return ""

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(SAVE_INTERVAL_S)
            await self.flush()


def _is_due(memory: DemandMemory, saved: DemandMemory) -> bool:
    """Tell whether more than fading has happened: something was asked, learned or set."""
    if any(each.idle_s < 2 * SAVE_INTERVAL_S for each in memory.models):
        return True
    return _lasting(memory) != _lasting(saved)


def _lasting(memory: DemandMemory) -> tuple[object, ...]:
    models = [(m.model_id, m.replicas, m.pinned, m.set_aside, m.profile) for m in memory.models]
    return models, memory.loads, memory.seats
