"""The memory of demand: what is kept, when it is written, and what a bad file costs."""

from pathlib import Path
from typing import Any

from helexa.cortex.control_plane.demand_memory import FILE_NAME, DemandKeeper
from helexa.cortex.orchestrator.remembered import DemandMemory, RememberedModel
from helexa.protocol.ids import ModelId
from tests.fakes.control_plane import recording_logger

USED = RememberedModel(model_id=ModelId("m"), requests=(1.0, 1.0, 1.0), service_s=2.0, replicas=1)


class Source:
    def __init__(self, *models: RememberedModel) -> None:
        self.models = models
        self.wall_s = 1000.0
        self.log: list[dict[str, Any]] = []

    def learned(self, wall_s: float) -> DemandMemory:
        return DemandMemory(wall_s=wall_s, models=self.models)

    def keeper(self, folder: Path) -> DemandKeeper:
        logger = recording_logger(self.log)
        return DemandKeeper(folder, self.learned, lambda: self.wall_s, logger)


async def test_what_was_learned_survives_a_restart_with_the_time_between(tmp_path: Path) -> None:
    """R6.8."""
    source = Source(USED)
    keeper = source.keeper(tmp_path)
    assert keeper.load().memory.models == ()
    await keeper.flush()
    source.wall_s += 60.0
    restored = source.keeper(tmp_path).load()
    assert restored.memory.models == (USED,)
    assert restored.away_s == 60.0


async def test_a_clock_that_was_set_back_makes_no_negative_age(tmp_path: Path) -> None:
    source = Source(USED)
    keeper = source.keeper(tmp_path)
    keeper.load()
    await keeper.flush()
    source.wall_s -= 500.0
    assert source.keeper(tmp_path).load().away_s == 0.0


async def test_nothing_is_written_while_nobody_asks(tmp_path: Path) -> None:
    idle = RememberedModel(model_id=ModelId("m"), requests=(0.0, 0.1, 1.0), idle_s=300.0)
    source = Source(idle)
    keeper = source.keeper(tmp_path)
    keeper.load()
    await keeper.flush()
    (tmp_path / FILE_NAME).unlink()
    source.models = (
        RememberedModel(model_id=ModelId("m"), requests=(0.0, 0.05, 0.9), idle_s=330.0),
    )
    await keeper.flush()
    assert not (tmp_path / FILE_NAME).exists(), "it has only faded"
    source.models = (USED,)
    await keeper.flush()
    assert (tmp_path / FILE_NAME).exists()


async def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{damaged")
    source = Source()
    assert source.keeper(tmp_path).load().memory == DemandMemory()
    assert any(line["event"] == "demand_memory_not_used" for line in source.log)
    assert list(tmp_path.glob("*.corrupt-*"))


async def test_a_disk_that_refuses_costs_the_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    source = Source(USED)
    await source.keeper(tmp_path / "blocked").flush()
    assert any(line["event"] == "demand_memory_not_saved" for line in source.log)
