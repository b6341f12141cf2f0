"""The fleet's memory: what is kept, and what a bad disk costs."""

from pathlib import Path
from typing import Any

import msgspec

from helexa.cortex.control_plane.memory import (
    FILE_NAME,
    FleetMemory,
    MemoryKeeper,
    events_of,
    memory_of,
    pause_s,
)
from helexa.cortex.orchestrator.events import NeuronMarked
from helexa.cortex.orchestrator.provisioner import reconcile
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.ids import NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import recording_logger
from tests.fakes.fleet import fleet, joined, model, register, status
from tests.fakes.waiting import until


def snapshot_with(*models: Any) -> FleetSnapshot:
    state = fleet()
    state.apply([joined(1, register("n1", *models))], 0.0)
    return state.snapshot(0.0)


def test_what_is_up_is_remembered_and_all_else_as_unloaded() -> None:
    """A name that a neuron brought is known before that neuron is back."""
    loaded = status(model("a"), active_requests=7)
    failed = status(model("b"), ModelState.FAILED, failures=3, because="exit 1", retry_after_s=9.0)
    memory = memory_of(snapshot_with(loaded, failed, status(model("c"), ModelState.UNLOADED)))
    (neuron,) = memory.neurons
    assert [(s.model_id, s.state) for s in neuron.models] == [
        ("a", ModelState.LOADED), ("b", ModelState.UNLOADED), ("c", ModelState.UNLOADED),
    ]  # fmt: skip
    assert neuron.models[0].active_requests == 0, "passing figures are not kept"
    assert neuron.models[1] == status(model("b"), ModelState.UNLOADED)


def test_what_this_cortex_put_there_is_remembered_as_its_own() -> None:
    state = fleet(model())
    state.apply([joined(1, register("n1", status(model(), ModelState.UNLOADED)))], 0.0)
    state.issue(reconcile(state.snapshot(0.0), 0.0), 0.0)
    assert memory_of(state.snapshot(0.0)).neurons[0].owned == ("m",)


def test_a_remembered_fleet_comes_back_as_events() -> None:
    memory = memory_of(snapshot_with(status(model())))
    again = msgspec.json.decode(msgspec.json.encode(memory), type=FleetMemory)
    (event,) = events_of(again)
    assert event.neuron.id == "n1"
    assert event.models[0].config == model()


def test_marks_are_remembered() -> None:
    state = fleet()
    state.apply([joined(1, register("n1")), NeuronMarked(NeuronId("n1"), True, True)], 0.0)
    again = fleet()
    again.apply(events_of(memory_of(state.snapshot(0.0))), 0.0)
    again.apply([joined(1, register("n1"))], 1.0)
    view = again.snapshot(1.0).neurons[NeuronId("n1")]
    assert (view.cordoned, view.draining) == (True, True)


async def test_the_memory_survives_a_restart(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    keeper = MemoryKeeper(tmp_path, recording_logger(log))
    assert keeper.load() == []
    keeper.note(snapshot_with(status(model())))
    await keeper.flush()
    (event,) = MemoryKeeper(tmp_path, recording_logger(log)).load()
    assert event.neuron.id == "n1"


async def test_an_unchanged_fleet_is_not_written_again(tmp_path: Path) -> None:
    keeper = MemoryKeeper(tmp_path, recording_logger([]))
    keeper.load()
    keeper.note(snapshot_with(status(model())))
    await keeper.flush()
    (tmp_path / FILE_NAME).unlink()
    keeper.note(snapshot_with(status(model(), active_requests=3)))
    await keeper.flush()
    assert not (tmp_path / FILE_NAME).exists()


async def test_a_damaged_memory_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{damaged")
    log: list[dict[str, Any]] = []
    assert MemoryKeeper(tmp_path, recording_logger(log)).load() == []
    assert any(line["event"] == "fleet_memory_not_used" for line in log)


async def test_a_disk_that_refuses_costs_the_memory_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    log: list[dict[str, Any]] = []
    keeper = MemoryKeeper(tmp_path / "blocked", recording_logger(log))
    keeper.note(snapshot_with(status(model())))
    await keeper.flush()
    assert any(line["event"] == "fleet_memory_not_saved" for line in log)


async def test_what_changes_is_written_soon_and_again_and_again(tmp_path: Path) -> None:
    failures: list[object] = []
    tasks = TaskScope(lambda _name, error: failures.append(error))
    keeper = MemoryKeeper(tmp_path, recording_logger([]))
    keeper.start(tasks)
    for name in ("a", "b"):
        keeper.note(snapshot_with(status(model(name))))
        needle = f'"model_id":"{name}"'.encode()
        path = tmp_path / FILE_NAME
        await until(lambda: path.exists() and needle in path.read_bytes(), f"{name} is written")  # noqa: B023
    await tasks.close()
    assert failures == []


def test_the_longer_a_write_takes_the_less_often_is_written() -> None:
    """A model that was loaded just before a kill -9 stayed for ever: nobody knew whose it was."""
    assert pause_s(0.001) == 0.25
    assert pause_s(0.02) == 1.0
    assert pause_s(3.0) == 5.0
