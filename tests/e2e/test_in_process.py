"""R1.46: a cortex and a neuron in one event loop, with a real engine process under them.

No subprocess of the product's own, no file but the neuron's state: what an embedder does.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from helexa.config.cortex import CortexConfig
from helexa.config.neuron import EngineSettings, NeuronConfig
from helexa.config.sockets import Socket, Url
from helexa.cortex import app as cortex_app
from helexa.cortex.shutdown import StopRequest
from helexa.model_runtime.echo_text import expected_text
from helexa.neuron import app as neuron_app
from tests.e2e.echoes import CHAT, body, echo
from tests.e2e.polling import eventually
from tests.e2e.stack import ENGINE_PORTS, free_ports
from tests.e2e.wire import HOST, Ending, ask

ANY_PORT = Socket(HOST, 0)


@dataclass
class Pair:
    """Both roles, running."""

    gateway: int
    control: str
    cortex: cortex_app.Running
    neuron: neuron_app.Running


def cortex_config(folder: Path, models: list[dict[str, Any]]) -> CortexConfig:
    anywhere = {"socket": ANY_PORT}
    return CortexConfig.model_validate(
        {
            "state_dir": folder / "cortex", "gateway": anywhere, "control_plane": anywhere,
            "admin": anywhere, "shutdown": {"drain_s": 2.0}, "models": models,
        }
    )  # fmt: skip


def neuron_config(folder: Path, control: str) -> NeuronConfig:
    host, _, port = control.rpartition(":")
    first = free_ports(ENGINE_PORTS)
    return NeuronConfig(
        state_dir=folder / "neuron",
        node_id="inner",
        cortex_control_endpoint=Url("ws", host, int(port)),
        api={"socket": ANY_PORT},  # type: ignore[arg-type]
        engines=EngineSettings(
            allowed=("echo",), port_first=first, port_last=first + ENGINE_PORTS - 1
        ),
    )


@asynccontextmanager
async def pair(folder: Path, models: list[dict[str, Any]]) -> AsyncIterator[Pair]:
    """Run a cortex, then a neuron that joins it; stop both in the other order."""
    stop, loop = StopRequest(), asyncio.get_running_loop()
    cortex_ready: asyncio.Future[cortex_app.Running] = loop.create_future()
    neuron_ready: asyncio.Future[neuron_app.Running] = loop.create_future()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        config = cortex_config(folder, models)
        group.create_task(cortex_app.run(config, on_ready=cortex_ready.set_result, stop=stop))
        cortex = await cortex_ready
        control = cortex.sockets["control_plane"]
        group.create_task(neuron_app.run(neuron_config(folder, control), neuron_ready.set_result))
        neuron = await neuron_ready
        try:
            await eventually(lambda: neuron.client.state.connected, "the neuron has joined", 10)
            yield Pair(int(cortex.sockets["gateway"].rpartition(":")[2]), control, cortex, neuron)
        finally:
            neuron.stop.set()
            stop.ask("the test is over")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_a_pair_in_one_loop_serves_chat_and_embeddings_and_leaves_nothing(
    folder: Path,
) -> None:
    """R1.46, R1.47, R1.1, R1.34: and is gone, engine and all, when it is told to stop."""
    async with pair(folder, [echo("inner")]) as both:
        port = both.gateway
        answer = await ask(port, "POST", CHAT, body("inner", 9), {"x-request-id": "in-process"})
        assert (answer.status, answer.ended, answer.done) == (200, Ending.CLEAN, True)
        assert answer.text == expected_text("in-process", 9)
        vectors = await ask(port, "POST", "/v1/embeddings", {"model": "inner", "input": ["a", "b"]})
        first, second = (item["embedding"] for item in vectors.json()["data"])
        assert len(first) == len(second) == 384
        assert first != second
        engines = psutil.Process().children(recursive=True)
        assert engines
    await eventually(
        lambda: not [child for child in engines if child.is_running()], "no engine is left", 5
    )


async def test_two_pairs_in_one_loop_do_not_know_each_other(folder: Path) -> None:
    """Nothing is global: not the state, not the metrics, not the logging."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    async with pair(folder / "a", [echo("one")]) as a, pair(folder / "b", [echo("two")]) as b:
        for mine, model, other in ((a, "one", "two"), (b, "two", "one")):
            assert (await ask(mine.gateway, "POST", CHAT, body(model, 3))).done
            missing = await ask(mine.gateway, "POST", CHAT, body(other, 3))
            assert (missing.status, missing.code) == (404, "model_not_found")
            metrics = (await ask(mine.gateway, "GET", "/metrics")).body
            assert f'model="{other}"'.encode() not in metrics
