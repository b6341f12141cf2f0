"""Attached servers and progress: what the supervisor does without a process of its own."""

import inspect
from collections.abc import Collection
from dataclasses import replace

import pytest
from aiohttp import web

from helexa.model_runtime.interfaces import Launch, LaunchPlan
from helexa.model_runtime.models import disk, fetching, hub, packages, store, transfer
from helexa.neuron.hardware.gpu_memory import GpuMemory
from helexa.neuron.runtime.supervisor_work import LATER_MAY_HELP
from helexa.protocol.control import UpsertModelConfig
from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from tests.fakes.engines import GIB, TinyEngine
from tests.fakes.http_server import serving
from tests.fakes.neuron_world import NeuronWorld
from tests.fakes.waiting import until


@pytest.fixture
async def world(tmp_path):
    made = NeuronWorld(tmp_path, attach_s=0.3)
    await made.supervisor.start()
    yield made
    await made.supervisor.close()
    assert made.broken == []


class Server:
    """An attached server that can be made sick."""

    def __init__(self) -> None:
        self.status = 200

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": [{}]}, status=self.status)


async def attach(world: NeuronWorld, endpoint: str) -> None:
    config = ModelConfig(id=ModelId("m"), engine="attached", listen_endpoint=endpoint)
    assert (await world.ask(UpsertModelConfig(config=config))).accepted
    assert (await world.load()).accepted


async def test_a_running_server_is_attached_to_and_let_go(world):
    async with serving(Server().answer) as served:
        await attach(world, served.endpoint)
        await world.reach(ModelState.LOADED)
        running = world.supervisor.running("m")
        assert (running.endpoint, running.capability.memory_bytes) == (served.endpoint, None)
        assert list((world.folder / "state/running").glob("*")) == []
        await world.unload()
        await world.reach(ModelState.UNLOADED)


async def test_weights_that_are_here_are_looked_at_without_a_load(world):
    """Lesson 43. Neither absent weights nor a fault of the store is evidence of anything."""
    for source in ("bug.gguf", "away.gguf", "held.gguf"):
        await world.upsert(source.split(".")[0], source=source, seats=3)
    await until(lambda: world.status("held").capability, "its header was read")
    assert world.status("held").capability.seats == 3
    assert world.status("held").state is ModelState.UNLOADED
    assert (world.status("bug").capability, world.status("away").capability) == (None, None)
    assert world.store.asked == []


async def test_an_attached_server_that_falls_sick_is_given_up_and_comes_back(world):
    server = Server()
    async with serving(server.answer) as served:
        await attach(world, served.endpoint)
        await world.reach(ModelState.LOADED)
        server.status = 500
        await until(lambda: world.supervisor.running("m") is None, "it is given up")
        assert "health" in world.status().because or "canary" in world.status().because
        server.status = 200
        await world.reach(ModelState.LOADED)


async def test_a_server_that_is_not_there_yet_is_tried_again(world):
    await attach(world, "http://127.0.0.1:9")
    status = await world.reach(ModelState.FAILED)
    assert "not ready within 0.3 s" in status.because
    await until(lambda: world.status().failures >= 2, "it is tried again")


class TwoBuilds(TinyEngine):
    """An engine with a build for a newer CPU, which it prefers, and a packaged one."""

    name = "tiny"
    binaries = ("new-build", "packaged")

    def launch(self, launch: Launch) -> LaunchPlan:
        plan = super().launch(launch)
        build = launch.binaries.get("new-build")
        return plan if build is None else replace(plan, argv=(build, *plan.argv))


async def test_a_build_that_dies_of_the_cpu_at_model_load_gives_way_to_the_packaged_one(tmp_path):
    """It passes `--version`, and is found out only now."""
    build = tmp_path / "llama-server"
    build.write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\nkill -ILL $$\n')
    build.chmod(0o755)
    binaries = {"new-build": str(build), "packaged": "/packaged/server.py"}
    world = NeuronWorld(tmp_path, engine=TwoBuilds(), binaries=binaries)
    await world.supervisor.start()
    await world.upsert()
    await world.load()
    await world.reach(ModelState.LOADED)
    failed = [status.because for status in world.heard if status.state is ModelState.FAILED]
    assert len(failed) == 1
    assert "SIGILL" in failed[0]
    await world.supervisor.close()
    assert world.broken == []


async def test_progress_of_a_download_is_told_but_not_too_often(world):
    ticks = iter(range(1000))

    class Clock:
        def monotonic(self) -> float:
            return next(ticks) * 0.125

        def wall(self) -> float:
            return 0.0

    world.supervisor._work._clock = Clock()
    store = world.store

    async def resolve(source, progress, *, folder_allowed=False):
        for done in range(20):
            progress("download", done, 20)
        await store.gate.wait()

    store.resolve = resolve
    config = ModelConfig(id=ModelId("m"), engine="tiny", source="x.gguf")
    await world.ask(UpsertModelConfig(config=config))
    await world.load()
    await until(lambda: world.status().progress == 0.95, "the last progress is told")
    told = [status.progress for status in world.heard if status.progress is not None]
    assert told == [0.15, 0.35, 0.55, 0.75, 0.95]
    assert world.status().because == "download of weights"


def test_errors_that_time_heals_are_source_errors_of_the_store():
    """Each id is raised by the store; a renamed one would end all retries silently."""
    source = "".join(map(inspect.getsource, (disk, fetching, hub, packages, store, transfer)))
    assert [error_id for error_id in LATER_MAY_HELP if error_id not in source] == []


# ── memory of GPUs ────────────────────────────────────────────────────────────────────────────


class Gpus:
    """Tells what it is given, one reading after the other; the last one again and again."""

    def __init__(self, *readings: GpuMemory | Exception | None) -> None:
        self.readings = list(readings)
        self.asked: list[list[int]] = []

    def read(self, pids: Collection[int]) -> GpuMemory | None:
        self.asked.append(sorted(pids))
        told = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if isinstance(told, Exception):
            raise told
        return told


@pytest.mark.parametrize(
    ("readings", "measured"),
    [
        ((GpuMemory(GIB, None), GpuMemory(4 * GIB, 2 * GIB)), 2 * GIB),
        ((GpuMemory(GIB, None), GpuMemory(4 * GIB, None)), 3 * GIB),
        ((GpuMemory(GIB, None), None), None),
        ((GpuMemory(GIB, None), OSError("the driver is gone")), None),
        ((OSError("the driver is gone"), GpuMemory(4 * GIB, 2 * GIB)), 2 * GIB),
    ],
)
async def test_what_an_engine_holds_on_gpus_is_measured_once_it_serves(
    tmp_path, readings, measured
):
    gpus = Gpus(*readings)
    world = NeuronWorld(tmp_path, gpu=True, gpu_memory=gpus.read)
    await world.supervisor.start()
    await world.upsert()
    await world.load()
    await world.reach(ModelState.LOADED)
    assert world.status().capability.memory_measured_bytes == measured
    before, after = gpus.asked
    assert before == []
    assert after, "its processes are asked about"
    await world.supervisor.close()


async def test_what_was_loaded_at_the_same_time_is_not_taken_for_one_engines(tmp_path):
    """By difference nobody can tell whose it is; a wrong number would be booked for good."""
    gpus = Gpus(*(GpuMemory(number * GIB, None) for number in range(1, 9)))
    world = NeuronWorld(tmp_path, gpu=True, gpu_memory=gpus.read)
    await world.supervisor.start()
    for name in ("one", "two"):
        await world.upsert(name, source=f"slow-{name}.gguf")
        await world.load(name)
    await until(lambda: len(world.store.asked) == 2, "both fetch their weights")
    world.store.gate.set()
    for name in ("one", "two"):
        await world.reach(ModelState.LOADED, name)
        assert world.status(name).capability.memory_measured_bytes is None
    await world.supervisor.close()
