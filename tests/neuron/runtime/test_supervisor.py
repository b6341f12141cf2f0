"""The supervisor with real processes: commands of a cortex become running engines and end again."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from helexa.neuron.process import table
from helexa.neuron.registry.admission import Admitted, Queued
from helexa.neuron.registry.limits import Limits
from helexa.protocol.control import LoadModel, UnloadModel, UpsertModelConfig
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from helexa.util.backoff import Backoff
from tests.fakes.engines import GIB
from tests.fakes.neuron_world import NeuronWorld
from tests.fakes.waiting import until

LOADED, FAILED, UNLOADED = ModelState.LOADED, ModelState.FAILED, ModelState.UNLOADED


@pytest.fixture
async def world(tmp_path):
    made = NeuronWorld(tmp_path)
    await made.supervisor.start()
    yield made
    await made.supervisor.close()
    assert made.broken == []
    assert made.spawner.reap_orphans() == []


def is_alive(pid: int) -> bool:
    return table.entry(pid) is not None


async def bring_up(world: NeuronWorld, model_id: str = "m", **options) -> int:
    starts = str(world.folder / f"{model_id}.starts")
    await world.upsert(model_id, starts=starts, **options)
    await world.load(model_id)
    await world.reach(LOADED, model_id)
    return world.pids(model_id)[-1]


async def test_a_model_is_loaded_served_and_unloaded(world):
    """R1.16, R1.20: commands are applied and answered; the engine runs, and is gone after it."""
    pid = await bring_up(world, health_after=2)
    running = world.supervisor.running("m")
    assert running is not None
    assert running.endpoint.startswith("http://127.0.0.1:")
    assert world.status().capability.memory_bytes > 1 << 20
    assert world.supervisor.log_tail("m") == ("listening",)
    [(model, meter)] = world.supervisor.engines()
    assert model == running
    assert meter is not None
    assert (meter() or 0) > 1 << 20
    assert isinstance(world.seats.ask("m", "r1", lambda _: None), Admitted)
    world.seats.release("r1")
    assert (await world.unload()).accepted
    await world.reach(UNLOADED)
    assert not is_alive(pid)
    assert world.supervisor.running("m") is None
    assert world.supervisor.engines() == []
    assert list((world.folder / "keys").iterdir()) == []
    states = [status.state.value for status in world.heard]
    assert list(dict.fromkeys(states)) == ["unloaded", "loading", "loaded", "unloading"]
    assert states[-1] == "unloaded"


async def test_the_engine_s_key_is_private_and_not_in_its_command_line(world):
    pid = await bring_up(world)
    key = world.supervisor.running("m").headers["authorization"].removeprefix("Bearer ")
    (path,) = (world.folder / "keys").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == key
    assert len(key) >= 32
    assert key not in repr(world.supervisor.running("m"))
    assert key not in Path(f"/proc/{pid}/cmdline").read_text()


async def test_a_slow_load_does_not_delay_another_model(world):
    """F15: commands run as tasks, one line per model."""
    await world.upsert("slow", source="slow.gguf")
    assert (await world.load("slow")).accepted
    await bring_up(world, "quick")
    assert world.status("slow").state is ModelState.LOADING
    world.store.gate.set()
    await world.reach(LOADED, "slow")


async def test_a_load_that_is_asked_for_many_times_starts_one_engine(world):
    """F19: duplicates of one command and other commands for the same."""
    await world.upsert(starts=str(world.folder / "m.starts"))
    load = LoadModel(model_id=ModelId("m"))
    same = [world.supervisor.provision(CommandId("x"), load, "") for _ in range(20)]
    others = [world.load() for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in (*same, *others)]
    answers = [task.result() for task in tasks]
    assert all(answer.accepted for answer in answers)
    await world.reach(LOADED)
    assert len(world.pids()) == 1


async def test_a_crashed_engine_is_told_with_its_last_words_and_started_again(world):
    """F05: waiting requests are refused at once; the next engine is another worker."""
    switch = world.folder / "crash"
    await bring_up(world, crash_on=str(switch), seats=1)
    first = world.supervisor.running("m")
    told = []
    world.seats.ask("m", "r1", told.append)
    assert isinstance(world.seats.ask("m", "r2", told.append), Queued)
    switch.touch()
    await until(lambda: told, "the waiter is refused")
    assert told[0].code is ErrorCode.SERVICE_UNAVAILABLE
    switch.unlink()
    failed = [status for status in world.heard if status.state is FAILED]
    assert "SIGABRT" in failed[0].because
    await world.reach(LOADED)
    assert world.supervisor.running("m").worker_id != first.worker_id
    assert len(world.pids()) >= 2


async def test_kill_9_of_an_engine_is_noticed(world):
    pid = await bring_up(world)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: len(world.pids()) == 2, "a new engine is started")
    await world.reach(LOADED)
    assert world.supervisor.health().recent_failures == 1


async def test_an_engine_that_ends_at_once_fails_with_reason_and_log(world):
    await world.upsert(exit=3)
    await world.load()
    status = await world.reach(FAILED)
    assert "exited with status 3" in status.because
    assert status.failures >= 1
    assert world.supervisor.log_tail("m") == ("cannot load model",)
    assert world.supervisor.refusal("m").code in {
        ErrorCode.SERVICE_UNAVAILABLE, ErrorCode.MODEL_LOADING,
    }  # fmt: skip


async def test_a_healthy_engine_that_fails_its_canary_is_not_ready(world):
    """Readiness is health and a real request."""
    await world.upsert(canary=500, starts=str(world.folder / "m.starts"))
    await world.load()
    await until(lambda: any(s.state is FAILED for s in world.heard), "it failed")
    failed = next(status for status in world.heard if status.state is FAILED)
    assert "canary answered 500" in failed.because
    assert "broken weights" in failed.because
    assert world.supervisor.running("m") is None
    await world.unload()
    await world.reach(UNLOADED)
    await until(lambda: not any(map(is_alive, world.pids())), "all are gone")


async def test_an_engine_that_is_never_healthy_fails_at_its_deadline(tmp_path):
    world = NeuronWorld(tmp_path, load_s=1.0)
    await world.supervisor.start()
    await world.upsert(health_after=10_000)
    await world.load()
    status = await world.reach(FAILED)
    assert "not ready within 1 s: GET /health answered 503" in status.because
    await world.supervisor.close()


async def test_a_config_that_cannot_be_launched_is_not_tried_again(world):
    await world.upsert(exit="never")
    await world.load()
    status = await world.reach(FAILED)
    assert status.because == "no usable binary"
    assert status.retry_after_s is None


async def test_a_crash_loop_ends_in_a_pause(tmp_path):
    limits = Limits(
        memory_budget_bytes=GIB, crashes_max=3, retry=Backoff(initial_s=0.01, ceiling_s=0.02)
    )
    world = NeuronWorld(tmp_path, limits)
    await world.supervisor.start()
    await world.upsert(exit=1, starts=str(world.folder / "m.starts"))
    await world.load()
    await until(lambda: "crash loop" in world.status().because, "the loop is seen")
    assert len(world.pids()) == 3
    assert world.status().retry_after_s > 200
    assert any("crash loop" in problem for problem in world.supervisor.health().problems)
    await world.supervisor.close()


async def test_weights_that_are_wrong_fail_and_those_that_are_late_arrive(world):
    await world.upsert("wrong", source="bad.gguf")
    await world.load("wrong")
    assert (await world.reach(FAILED, "wrong")).because == "bad.gguf is no model"
    await world.upsert("late", source="late.gguf")
    await world.load("late")
    await world.reach(LOADED, "late")
    assert world.store.asked.count("late.gguf") == 3


async def test_a_bug_of_the_store_fails_one_model_only(world):
    await world.upsert("bug", source="bug.gguf")
    await world.load("bug")
    assert "a bug of the store" in (await world.reach(FAILED, "bug")).because
    await bring_up(world)


async def test_an_unload_during_a_download_cancels_it(world):
    await world.upsert(source="slow.gguf")
    await world.load()
    await until(lambda: world.store.asked, "the download began")
    await world.unload()
    assert world.status().state is UNLOADED
    await until(lambda: world.store.cancelled == 1, "the download is cancelled")


async def test_an_unload_at_any_moment_of_a_start_leaves_no_engine(world):
    await world.upsert(starts=str(world.folder / "m.starts"))
    for turns in range(0, 60, 6):
        await world.load()
        for _ in range(turns):
            await asyncio.sleep(0)
        await world.unload()
        await world.reach(UNLOADED)
        assert list((world.folder / "state/running").glob("*")) == []
        assert not any(map(is_alive, world.pids()))
    assert list((world.folder / "keys").iterdir()) == []


async def test_an_unload_waits_for_running_requests_and_refuses_waiting_ones(world):
    pid = await bring_up(world, seats=1)
    told = []
    world.seats.ask("m", "r1", told.append)
    world.seats.ask("m", "r2", told.append)
    await world.unload()
    assert told[0].code is ErrorCode.SHUTTING_DOWN
    assert world.status().state is ModelState.UNLOADING
    assert is_alive(pid)
    world.seats.release("r1")
    await world.reach(UNLOADED)


async def test_an_unload_is_not_held_up_for_ever_by_a_request_or_a_stubborn_engine(world):
    pid = await bring_up(world, stubborn=1)
    world.seats.ask("m", "r1", lambda _: None)
    await world.unload()
    await world.reach(UNLOADED)
    assert not is_alive(pid)


async def test_a_condemned_engine_is_replaced_even_when_it_is_stopped(world):
    """F03: SIGSTOP; the executor finds it silent."""
    pid = await bring_up(world)
    os.kill(pid, signal.SIGSTOP)
    stalled = world.supervisor.running("m")
    world.supervisor.condemn(stalled, "no byte for 3 s")
    world.supervisor.condemn(stalled, "no byte for 3 s")
    await until(lambda: len(world.pids()) == 2, "a new engine is started")
    assert not is_alive(pid)
    await world.reach(LOADED)
    assert world.status().failures == 1


async def test_an_engine_that_fails_its_health_checks_is_replaced(world):
    switch = world.folder / "sick"
    pid = await bring_up(world, sick_on=str(switch))
    switch.touch()
    await until(lambda: world.supervisor.running("m") is None, "it is given up")
    switch.unlink()
    await world.reach(LOADED)
    assert pid != world.pids()[-1]


async def test_a_reload_runs_the_new_config(world):
    pid = await bring_up(world, seats=1)
    before = world.status().config_digest
    await world.upsert(seats=3, starts=str(world.folder / "m.starts"))
    assert (world.status().state, world.status().config_digest) == (LOADED, before)
    assert is_alive(pid)
    await world.load()
    await until(lambda: world.status().config_digest != before, "it is loaded anew")
    await world.reach(LOADED)
    assert world.supervisor.running("m").capability.seats == 3
    assert not is_alive(pid)


async def test_a_load_that_does_not_fit_is_refused_with_numbers(world):
    await world.upsert(memory_gib=100)
    answer = await world.load()
    assert not answer.accepted
    assert answer.because == "needs 100.0 GiB; 64.0 free of 64.0"


async def test_configs_are_saved_and_known_after_a_restart(tmp_path):
    """R1.17: restart the neuron, config still known; nothing runs by itself."""
    first = NeuronWorld(tmp_path)
    await first.supervisor.start()
    await first.upsert(seats=2)
    await first.supervisor.close()
    second = NeuronWorld(tmp_path)
    await second.supervisor.start(first.saved[-1])
    await until(second.supervisor.statuses, "the config is known")
    (status,) = second.supervisor.statuses(with_config=True)
    assert (status.state, status.config.options) == (UNLOADED, {"seats": 2})
    assert (await second.load()).accepted
    await second.reach(LOADED)
    await second.supervisor.close()


async def test_a_full_disk_is_a_health_problem_and_nothing_worse(world):
    world.save_error = OSError(28, "No space left on device")
    assert (await world.upsert()).accepted
    await until(lambda: world.supervisor.health().problems, "it is told")
    assert "No space left" in world.supervisor.health().problems[0]
    world.save_error = None
    await world.upsert(seats=5)
    await until(lambda: not world.supervisor.health().problems, "it is healed")


async def test_closing_kills_everything_and_takes_no_more(tmp_path):
    world = NeuronWorld(tmp_path)
    await world.supervisor.start()
    pid = await bring_up(world, stubborn=1)
    await world.upsert("other", source="slow.gguf")
    await world.load("other")
    await world.supervisor.close()
    assert not is_alive(pid)
    assert world.store.cancelled == 1
    assert not (await world.load()).accepted


async def test_a_refusal_names_the_rule(world):
    """R8 of the neuron's rules."""
    config = ModelConfig(id=ModelId("m"), engine="sh")
    answer = await world.ask(UpsertModelConfig(config=config))
    assert (answer.accepted, answer.rule) == (False, "R1")


async def test_statuses_tell_how_busy_a_model_is(world):
    """R2.22."""
    await bring_up(world, seats=1)
    world.seats.ask("m", "r1", lambda _: None)
    world.seats.ask("m", "r2", lambda _: None)
    assert (world.status().active_requests, world.status().waiting_requests) == (1, 1)


async def test_requests_that_ended_show_in_the_health(world):
    world.supervisor.request_ended("m", 120.0, 40.0, failed=True)
    health = world.supervisor.health()
    assert (health.recent_failures, health.latency_ms_average) == (1, 120.0)
    assert health.tokens_per_second_average == 40.0


async def test_random_commands_never_leave_two_engines_or_an_orphan(world):
    """F19: many commands at once, each with its own id."""
    await bring_up(world)
    ids = ModelId("m")
    for number in range(30):
        command = LoadModel(model_id=ids) if number % 3 else UnloadModel(model_id=ids)
        await world.ask(command)
    await world.load()
    await world.reach(LOADED)
    await until(lambda: sum(map(is_alive, world.pids())) == 1, "one engine is alive")
