"""A whole cortex on loopback: every server, a neuron's raw end, a real stop."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from picows import WSMsgType, ws_connect

from helexa.config.cortex import (
    AdminSettings,
    ControlPlaneSettings,
    CortexConfig,
    GatewaySettings,
    ModelEntry,
    PortalSettings,
    ShutdownSettings,
)
from helexa.config.sockets import Socket
from helexa.cortex.app import Running, run
from helexa.cortex.control_plane.demand_memory import DemandKeeper
from helexa.cortex.control_plane.memory import MemoryKeeper
from helexa.cortex.orchestrator.remembered import DemandMemory
from helexa.cortex.shutdown import StopRequest
from helexa.protocol.control import Provisioning, ShutdownNotice
from helexa.protocol.tunnel import Stream, StreamHandler, Tunnel
from helexa.util.errors import ConfigError
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import NeuronSocket, listener_for
from tests.fakes.fleet import CHAT, register, status
from tests.fakes.waiting import until

FREE = Socket("127.0.0.1", 0)


def settings(tmp_path: Path, **changes: Any) -> CortexConfig:
    fields: dict[str, Any] = {
        "state_dir": tmp_path,
        "gateway": GatewaySettings(socket=FREE),
        "control_plane": ControlPlaneSettings(socket=FREE),
        "admin": AdminSettings(socket=FREE),
        "portal": PortalSettings(socket=FREE),
        "models": (ModelEntry(id="m", engine="echo", source="x"),),
        "shutdown": ShutdownSettings(drain_s=5.0),
    }
    return CortexConfig(**(fields | changes))


@asynccontextmanager
async def cortex(config: CortexConfig) -> AsyncIterator[Running]:
    failures: list[BaseException] = []
    tasks = TaskScope(lambda _name, error: failures.append(error))
    ready: list[Running] = []
    stop = StopRequest()
    task = tasks.start(run(config, on_ready=ready.append, stop=stop), "cortex")
    await until(lambda: ready or task.done(), "cortex is up")
    assert not failures, failures
    try:
        yield ready[0]
    finally:
        stop.ask("the test is over")
        await until(task.done, "cortex has stopped")
        assert not failures, failures


async def neuron_of(running: Running) -> NeuronSocket:
    neuron = NeuronSocket()
    url = f"ws://{running.sockets['control_plane']}/v1/neuron"
    await ws_connect(lambda: listener_for(neuron), url)
    return neuron


async def get(running: Running, server: str, path: str) -> tuple[int, str]:
    url = f"http://{running.sockets[server]}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


class Answering:
    """Answers each request with one JSON body, once its body is complete."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def on_head(self, payload: bytes) -> None: ...

    def on_data(self, data: bytes) -> None:
        self._stream.consumed(len(data))

    def on_end(self, payload: bytes) -> None:
        self._stream.send_head(b'{"status":200,"content_type":"application/json"}')
        self._stream.send_data(b'{"object":"chat.completion"}')
        self._stream.send_end(b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}')

    def on_reset(self, payload: bytes) -> None: ...

    def on_writable(self) -> None: ...


def answer_requests(neuron: NeuronSocket) -> None:
    def accept(stream: Stream, _head: bytes) -> StreamHandler:
        return Answering(stream)

    def fault(error: Exception) -> None:
        raise error

    tunnel = Tunnel(accept=accept, wake=lambda: None, fault=fault)

    def on_binary(message: bytes) -> None:
        tunnel.receive(message)
        while out := tunnel.take():
            neuron.transport.send(WSMsgType.BINARY, out)

    neuron.on_binary = on_binary


async def test_every_configured_server_answers(tmp_path: Path) -> None:
    """R0.4, R0.29, R1.42: one call with a config starts gateway, control plane, admin, portal."""
    async with cortex(settings(tmp_path)) as running:
        assert set(running.sockets) == {"gateway", "control_plane", "admin", "portal"}
        assert (await get(running, "gateway", "/health"))[0] == 200
        assert (await get(running, "admin", "/health"))[0] == 200
        assert (await get(running, "portal", "/"))[0] == 200
        for server in ("gateway", "admin"):
            code, text = await get(running, server, "/metrics")
            assert code == 200
            assert "helexa_neurons" in text
            assert "helexa_build_info" in text
            assert "helexa_event_loop_lag_seconds" in text
            assert "helexa_requests_held" in text


async def test_only_servers_with_a_socket_are_started(tmp_path: Path) -> None:
    """R0.30: without its socket there is no control plane."""
    config = settings(
        tmp_path,
        control_plane=ControlPlaneSettings(socket=None),
        portal=PortalSettings(socket=None),
    )
    async with cortex(config) as running:
        assert set(running.sockets) == {"gateway", "admin"}


async def test_a_port_in_use_stops_the_start_before_anything_runs(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = settings(tmp_path, admin=AdminSettings(socket=Socket("127.0.0.1", port)))
        with pytest.raises(ConfigError, match=str(port)):
            await run(config)


async def test_a_request_goes_to_the_neuron_and_its_answer_back(tmp_path: Path) -> None:
    """R1.1, R1.3: register, be provisioned, serve."""
    config = settings(tmp_path)
    async with cortex(config) as running:
        neuron = await neuron_of(running)
        answer_requests(neuron)
        wanted = config.model_configs()[0]
        neuron.say(register("n1", status(wanted, capability=CHAT)))
        await neuron.welcome()
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        url = f"http://{running.sockets['gateway']}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            assert answer.status == 200
            assert await answer.json() == {"object": "chat.completion"}
        neuron.cut()


async def test_without_a_neuron_a_request_is_refused_and_cortex_stays_up(tmp_path: Path) -> None:
    """R1.45: 503 with Retry-After in the error envelope."""
    async with cortex(settings(tmp_path)) as running:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        url = f"http://{running.sockets['gateway']}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            assert answer.status == 503
            assert 1 <= int(answer.headers["retry-after"]) <= 30
            error = (await answer.json())["error"]
        assert error["code"] == "service_unavailable"
        assert "no neuron is connected" in error["message"]
        assert (await get(running, "gateway", "/health"))[0] == 200


async def test_status_tells_neurons_models_and_problems(tmp_path: Path) -> None:
    """R5.5, R5.6."""
    config = settings(tmp_path)
    async with cortex(config) as running:
        neuron = await neuron_of(running)
        neuron.say(register("n1"))
        await neuron.welcome()
        await until(lambda: neuron.of(Provisioning), "it is told to load")
        text = (await get(running, "admin", "/api/v1/status"))[1]
        body = json.loads(text)
        assert body["models"][0]["state"] == "loading"
        assert body["neurons"][0]["id"] == "n1"
        assert any("model m is loading" in problem for problem in body["problems"])
        neuron.cut()


async def test_what_an_operator_was_told_is_kept_outlives_a_crash_at_once(tmp_path: Path) -> None:
    """A pin was lost for half a minute after it was told to outlive a restart, a mark for five
    seconds: that is, by a power cut."""
    async with cortex(settings(tmp_path)) as running:
        neuron = await neuron_of(running)
        neuron.say(register("n1", status(settings(tmp_path).model_configs()[0])))
        await neuron.welcome()
        for path, body in (("models/pin", {"model": "m"}), ("neurons/n1/cordon", {})):
            url = f"http://{running.sockets['admin']}/api/v1/{path}"
            async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
                assert (await answer.json())["kept"] is True
        demand = DemandKeeper(tmp_path, lambda _: DemandMemory(), time.time, None).load().memory
        assert [(each.model_id, each.pinned) for each in demand.models] == [("m", True)]
        (event,) = MemoryKeeper(tmp_path, None).load()
        assert event.cordoned
        neuron.cut()


async def test_neurons_are_told_before_cortex_goes(tmp_path: Path) -> None:
    async with cortex(settings(tmp_path)) as running:
        neuron = await neuron_of(running)
        neuron.say(register("n1"))
        await neuron.welcome()
    assert neuron.of(ShutdownNotice)
    assert neuron.gone


async def test_a_restarted_cortex_waits_for_the_neuron_that_has_the_model(tmp_path: Path) -> None:
    """P4: a restart loads nothing anew on whoever comes back first."""
    config = settings(tmp_path)
    wanted = config.model_configs()[0]
    async with cortex(config) as running:
        holder = await neuron_of(running)
        holder.say(register("holder", status(wanted)))
        await holder.welcome()
    async with cortex(config) as running:
        other = await neuron_of(running)
        other.say(register("other"))
        await other.welcome()
        await until(
            lambda: "other" in running.loop.snapshot().neurons, "the other one is registered"
        )
        assert running.loop.snapshot().neurons["holder"].state == "unconfirmed"  # type: ignore[index]
        back = await neuron_of(running)
        back.say(register("holder", status(wanted)))
        await back.welcome()
        assert [r.neuron_id for r in running.loop.snapshot().models["m"].replicas] == ["holder"]
        assert not other.of(Provisioning)
        other.cut()
        back.cut()


SCRIPT = """
import asyncio, sys
from pathlib import Path
from helexa.config.cortex import *
from helexa.config.sockets import Socket
from helexa.cortex.app import run
from helexa.util import logging
logging.setup("info", "json")
free = Socket("127.0.0.1", 0)
config = CortexConfig(
    state_dir=Path(sys.argv[1]), gateway=GatewaySettings(socket=free),
    control_plane=ControlPlaneSettings(socket=free), admin=AdminSettings(socket=free),
)
asyncio.run(run(config, on_ready=lambda running: print("ready", flush=True)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_servers_with_status_0(tmp_path: Path, number: int) -> None:
    """R0.31, R0.38, R1.39: one way down, logged, without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events.index("cortex_started") < events.index("cortex_stopping")
    assert events[-1] == "cortex_stopped"


async def test_stopping_twice_cuts_a_drain_short(tmp_path: Path) -> None:
    """A request that never ends holds a drain; the second signal ends it."""
    config = settings(tmp_path, shutdown=ShutdownSettings(drain_s=3600))
    async with cortex(config) as running, aiohttp.ClientSession() as session:
        neuron = await neuron_of(running)
        neuron.say(register("n1", status(config.model_configs()[0])))
        await neuron.welcome()
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        url = f"http://{running.sockets['gateway']}/v1/chat/completions"
        scope = TaskScope(lambda _name, _error: None)
        request = scope.start(session.post(url, json=body).__aenter__(), "request")
        await until(lambda: neuron.binary, "the request reached the neuron")
        running.stop.ask("first")
        running.stop.ask("second")
        await until(request.done, "the request is answered or cut")
        await asyncio.sleep(0)
