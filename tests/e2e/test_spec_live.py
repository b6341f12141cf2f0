"""A spec applied to a running cortex: models come when asked, make room, leave and return."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from helexa.cache.json_store import JsonStore
from helexa.cortex.control_plane.demand_memory import FILE_NAME
from helexa.cortex.orchestrator.forecast import DAYS_MIN, HOURS
from helexa.cortex.orchestrator.remembered import DemandMemory
from tests.e2e.echoes import CHAT, body
from tests.e2e.polling import eventually
from tests.e2e.roles import environment
from tests.e2e.stack import HOST, Stack, get
from tests.e2e.wire import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ON_DEMAND = {"engine": "echo", "min_replicas": 0}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack([], wait_for=()) as stack:
        yield stack


def helexa(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helexa", *arguments, "--admin", f"{HOST}:{stack.admin}"],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def write(stack: Stack, keep_alive_s: float) -> Path:
    path = stack.folder / "spec.json"
    spec = {
        "models": [
            {"id": "a", **ON_DEMAND, "keep_alive_s": keep_alive_s},
            {"id": "b", **ON_DEMAND, "keep_alive_s": keep_alive_s},
        ],
        "policy": {"models_per_neuron_max": 1, "idle_min_s": 0.5, "hold_max_s": 5},
    }
    path.write_text(json.dumps(spec))
    return path


def admin(stack: Stack, path: str) -> Any:
    status, raw = get(stack.admin, path)
    assert status == 200, raw
    return json.loads(raw)


def neuron_states(stack: Stack) -> set[str]:
    return {neuron["state"] for neuron in admin(stack, "/api/v1/neurons")["neurons"]}


async def answered(stack: Stack, model: str) -> None:
    answer = await ask(stack.gateway, "POST", CHAT, body(model, 4, stream=False))
    assert answer.status == 200, answer.body


async def test_a_spec_is_planned_applied_and_outlives_a_restart(stack: Stack) -> None:
    """R6.1, R6.7, R6.12: models come by the spec, without a word on the neuron's disk."""
    path = write(stack, 3600.0)
    planned = await asyncio.to_thread(helexa, stack, "spec", "plan", str(path))
    assert planned.returncode == 10, planned.stderr
    assert "+ model a" in planned.stdout
    assert "is loaded when somebody asks for it" in planned.stdout
    applied = await asyncio.to_thread(helexa, stack, "spec", "apply", str(path))
    assert applied.returncode == 0, applied.stderr
    await eventually(lambda: set(stack.states()) == {"a", "b"}, "both models offered", 10)
    again = await asyncio.to_thread(helexa, stack, "spec", "plan", str(path), "-o", "json")
    assert (again.returncode, json.loads(again.stdout)["changes"]) == (0, [])
    stack.cortex.stop()
    stack.cortex.start()
    await eventually(lambda: set(stack.states()) == {"a", "b"}, "the spec in force again", 20)
    assert admin(stack, "/api/v1/spec")["name"] == "spec.json"


async def test_a_request_is_held_while_its_model_comes_and_another_makes_room(
    stack: Stack,
) -> None:
    """R6.13, R2.39: from zero, and a swap in both directions, under requests that wait."""
    await eventually(lambda: "connected" in neuron_states(stack), "the neuron is back", 20)
    await answered(stack, "a")
    assert stack.states()["a"] == "loaded"
    await answered(stack, "b")
    assert stack.states() == {"a": "unloaded", "b": "loaded"}
    await answered(stack, "a")
    assert stack.states() == {"a": "loaded", "b": "unloaded"}
    told = await asyncio.to_thread(helexa, stack, "explain", "placement", "b")
    assert "one more would go to n1, in place of a" in told.stdout, told.stdout + told.stderr


async def test_two_models_that_do_not_fit_together_take_turns(stack: Stack) -> None:
    """Requests for both at once: all are answered, and none is thrown out halfway."""
    await asyncio.gather(*(answered(stack, model) for model in "abab" * 4))


async def test_an_operator_unloads_a_model_and_a_request_brings_it_back(stack: Stack) -> None:
    await answered(stack, "a")
    unloaded = await asyncio.to_thread(helexa, stack, "models", "unload", "a")
    assert unloaded.returncode == 0, unloaded.stderr
    await eventually(lambda: stack.states()["a"] == "unloaded", "a unloaded", 10)
    await answered(stack, "a")
    pinned = await asyncio.to_thread(helexa, stack, "models", "pin", "a")
    assert pinned.returncode == 0, pinned.stderr
    refused = await ask(stack.gateway, "POST", CHAT, body("b", 4, stream=False))
    assert refused.status == 503
    assert "pinned" in refused.json()["error"]["message"]
    await asyncio.to_thread(helexa, stack, "models", "unpin", "a")


async def test_an_idle_model_leaves_after_its_keep_alive(stack: Stack) -> None:
    """R2.32: scale to zero without anybody's doing."""
    await answered(stack, "a")
    path = write(stack, 1.0)
    assert (await asyncio.to_thread(helexa, stack, "spec", "apply", str(path))).returncode == 0
    await eventually(lambda: set(stack.states().values()) == {"unloaded"}, "nothing loaded", 20)
    await answered(stack, "a")


async def test_a_model_that_is_regularly_wanted_at_this_hour_is_there_before_it_is_asked_for(
    stack: Stack,
) -> None:
    """R6.14: what was learned of hours outlives cortex, and is explained."""
    stack.cortex.stop()
    store = JsonStore(stack.folder / "cortex-state" / FILE_NAME, DemandMemory)
    memory = store.load(DemandMemory).value
    wanted = tuple(
        msgspec.structs.replace(
            each, profile=((1,) * DAYS_MIN,) * HOURS if each.model_id == "b" else ()
        )
        for each in memory.models
    )
    assert {each.model_id for each in wanted} == {"a", "b"}
    store.save(msgspec.structs.replace(memory, models=wanted, hour=None, lived_s=0.0))
    stack.cortex.start()
    await eventually(lambda: stack.states().get("b") == "loaded", "b loaded ahead", 20)
    told = await asyncio.to_thread(helexa, stack, "explain", "placement", "b")
    assert "why so many: warm by forecast: wanted on week" in told.stdout, told.stdout
    assert f"{DAYS_MIN} of the last {DAYS_MIN} days" in told.stdout
    assert (
        "warm by forecast: wanted on week"
        in (await asyncio.to_thread(helexa, stack, "models", "b")).stdout
    )
    await answered(stack, "a")
    assert stack.states() == {"a": "loaded", "b": "unloaded"}, "who is asked for has the room"
