"""Models that come when somebody asks: of a neuron alone, and after a restart of cortex."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from helexa.neuron.runtime.state_folder import StateFolder
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelConfig
from tests.e2e.echoes import CHAT, body, echo
from tests.e2e.polling import eventually
from tests.e2e.roles import Role
from tests.e2e.stack import Stack, get
from tests.e2e.wire import Answer, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
OWN = ModelConfig(id=ModelId("own"), engine="echo", aliases=("mine",))
KNOWN = {"own", "mine", "spare"}
KEEP_ALIVE_S = 1.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The neuron has a config of its own, `own`; cortex's names `spare` alone, on demand."""
    made = Stack(
        [{**echo("spare"), "min_replicas": 0}],
        cortex={"provisioning": {"keep_alive_s": KEEP_ALIVE_S}},
        wait_for=(),
    )
    folder = StateFolder(made.folder / "n1-state")
    folder.path.mkdir(parents=True, mode=0o700)
    folder.save_configs((OWN,))
    with made as stack:
        yield stack


def model_of(stack: Stack, name: str) -> dict[str, Any]:
    status, raw = get(stack.admin, "/api/v1/models")
    models = json.loads(raw)["models"] if status == 200 else []
    return next((each for each in models if each["id"] == name), {})


def asking(stack: Stack, model: str) -> tuple[Answer, asyncio.Task[Answer]]:
    answer = Answer()
    asked = ask(stack.gateway, "POST", CHAT, body(model, 4, stream=False), answer=answer)
    return answer, asyncio.create_task(asked)


async def restarted_alone(stack: Stack) -> Role:
    """Restart a cortex that knows of its neuron; return the neuron, which does not run."""
    await eventually(lambda: set(stack.states()) == KNOWN, "both known", 10)
    remembered = stack.folder / "cortex-state" / "fleet.json"
    await eventually(
        lambda: remembered.exists() and b'"own"' in remembered.read_bytes(), "it written down", 15
    )
    neuron = stack.neurons["n1"]
    stack.cortex.kill()
    neuron.stop()
    stack.cortex.start()
    return neuron


async def test_what_a_model_can_do_is_told_before_it_was_ever_loaded(stack: Stack) -> None:
    """Lesson 43: its config alone goes to a neuron, which describes it."""

    def capabilities() -> dict[str, Any]:
        status, raw = get(stack.gateway, "/v1/models")
        entries = json.loads(raw)["data"] if status == 200 else []
        return {each["id"]: each.get("capabilities") for each in entries}

    every = ["chat", "completion", "embeddings"]
    await eventually(lambda: capabilities().get("spare") == every, "what spare can do", 10)
    assert capabilities() == dict.fromkeys(KNOWN, every)
    assert not stack.engines()


async def test_a_model_that_only_a_neuron_knows_comes_when_asked_and_leaves_when_idle(
    stack: Stack,
) -> None:
    """Twice: its config stays on the neuron."""
    for _ in range(2):
        _, task = asking(stack, "mine")
        assert (await task).status == 200
        await eventually(lambda: stack.states()["own"] == "unloaded", "own has left", 20)
        assert not stack.engines()


@pytest.mark.parametrize("name", ["spare", "mine"])
async def test_after_a_restart_of_cortex_a_request_waits_for_the_neuron_of_its_model(
    stack: Stack, name: str
) -> None:
    """By spec or by what the last fleet knew: it is held like one whose model loads."""
    model_id = "own" if name == "mine" else name
    neuron = await restarted_alone(stack)
    await eventually(lambda: model_of(stack, model_id), "cortex back", 15)
    answer, task = asking(stack, name)
    told = "waits for n1, which is not back since cortex restarted"
    await eventually(lambda: model_of(stack, model_id)["because"] == told, told, 5)
    assert (answer.status, task.done()) == (0, False)
    neuron.start()
    assert (await task).status == 200, answer.body
    assert stack.states()[model_id] == "loaded"


async def test_a_request_waits_no_longer_than_a_neuron_is_given_to_come_back(stack: Stack) -> None:
    neuron = await restarted_alone(stack)
    await eventually(lambda: model_of(stack, "spare"), "cortex back", 15)
    _, task = asking(stack, "spare")
    answer = await task
    assert answer.status == 503
    assert "n1: is unconfirmed" in answer.json()["error"]["message"]
    neuron.start()
    await asyncio.to_thread(stack.wait_ready, ())
