"""A whole neuron in this process, its engines as real processes, and a cortex that is a test."""

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from helexa.config.load import load_neuron
from helexa.neuron import app
from helexa.neuron.process import table
from helexa.protocol.control import (
    LoadModel,
    ModelReport,
    Provisioning,
    ProvisioningResponse,
    Shutdown,
    UnloadModel,
    UpsertModelConfig,
)
from helexa.protocol.inference import OpenHead
from helexa.protocol.join import check_proof
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelConfig
from helexa.protocol.workload import Operation
from helexa.util.clock import SystemClock
from helexa.util.errors import ConfigError, HelexaError, LimitError
from helexa.util.tasks import TaskScope
from tests.fakes.cortex_server import CortexServer
from tests.fakes.exchange_log import until
from tests.fakes.tunnel_pair import StreamLog

TOKEN = "a-join-token-of-some-length"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()


@pytest.fixture
def anyio_backend():
    """As the command line runs it."""
    return ("asyncio", {"use_uvloop": True})


def config_of(tmp_path: Path, endpoint="ws://127.0.0.1:1", text=""):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    file = tmp_path / "neuron.toml"
    port = 20_000 + os.getpid() % 120 * 100  # test runs at one time do not meet
    file.write_text(f"""
        node_id = "n1"
        state_dir = "{tmp_path / "state"}"
        cortex_control_endpoint = "{endpoint}"
        join_token_file = "{token}"
        [api]
        socket = "127.0.0.1:0"
        [engines]
        allowed = ["echo"]
        port_first = {port}
        port_last = {port + 99}
        [timeouts]
        drain_s = 5
        stop_s = 2
        {text}
    """)
    return load_neuron(file, {}, {"PATH": os.defpath, "HOME": str(tmp_path)}).config


@asynccontextmanager
async def neuron_of(config):
    """A neuron that is stopped at the end, and left nothing behind."""
    failures = []
    scope = TaskScope(lambda name, error: failures.append(error))
    ready = asyncio.get_running_loop().create_future()
    task = scope.start(app.run(config, ready.set_result), "neuron")
    await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    running = ready.result()
    try:
        yield running
    finally:
        running.stop.set()
        await asyncio.wait({task}, timeout=20)
        assert task.done()
    task.result()
    assert engines_of(config) == []


def engines_of(config):
    """Process ids of echo servers that belong to this neuron's state folder."""
    home = str(config.state_dir / "neuron" / "engine-home")
    return [e.pid for e in table.entries() if table.has_environment(e.pid, f"HOME={home}")]


def commands(session, *wanted):
    for number, command in enumerate(wanted):
        session.say(Provisioning(command_id=f"c{id(command)}-{number}", command=command, cause="t"))


def echo(**options):
    return ModelConfig(id="m", engine="echo", options=options)


async def loaded(session, config):
    commands(session, UpsertModelConfig(config=config), LoadModel(model_id=config.id))
    await until(lambda: state_of(session) is ModelState.LOADED, "the model to be loaded", 30)


def state_of(session):
    reports = session.of(ModelReport)
    return reports[-1].status.state if reports else None


def ask(session, *, stream=True, request_id="r1", body=BODY):
    head = OpenHead(request_id=request_id, model="m", operation=Operation.CHAT, stream=stream)
    log = StreamLog()
    log.stream = session.tunnel.open(msgspec.json.encode(head), body, log)
    return log


async def get(port, path, method="GET", **headers):
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as answer,
    ):
        return answer.status, answer.headers, await answer.read()


# ── the main job ──────────────────────────────────────────────────────────────────────────────


async def test_a_model_is_loaded_used_and_unloaded_by_a_cortex(tmp_path):
    """R0.33, R1.14, R1.16, R1.20: commands reach the process manager, requests the engine."""
    async with CortexServer() as cortex, neuron_of(config_of(tmp_path, cortex.endpoint)):
        session = await cortex.welcomed()
        assert session.messages[0].neuron.id == "n1"
        assert session.messages[0].capabilities.engines == ("echo",)
        proof = check_proof(TOKEN, "n1", session.headers["x-helexa-join"], SystemClock().wall())
        assert proof.nonce
        await loaded(session, echo(default_tokens=5))
        log = await ask(session).ended()
        assert log.head.status == 200
        assert log.data.endswith(b"data: [DONE]\n\n")
        assert log.trailer.usage.completion_tokens == 5
        whole = await ask(session, stream=False).ended()
        assert json.loads(whole.data)["usage"]["completion_tokens"] == 5
        commands(session, UnloadModel(model_id="m"))
        await until(lambda: state_of(session) is ModelState.UNLOADED, "the model to be gone")
        refused = await ask(session).ended()
        assert (refused.reset.code, refused.reset.retry_elsewhere) == ("service_unavailable", True)


async def test_an_engine_that_crashes_mid_stream_cuts_it_and_is_started_anew(tmp_path):
    """F01, P1: no stream ends cleanly when it was cut; the model comes back by itself."""
    async with CortexServer() as cortex, neuron_of(config_of(tmp_path, cortex.endpoint)):
        session = await cortex.welcomed()
        await loaded(session, echo(default_tokens=50, tokens_per_second=200, crash_at_token=5))
        log = await ask(session).ended()
        assert log.trailer is None
        assert (log.reset.code, log.reset.retry_elsewhere) == ("engine_crash", False)
        before = len(session.of(ModelReport))
        await until(
            lambda: any(
                r.status.state is ModelState.LOADED for r in session.of(ModelReport)[before:]
            ),
            "the model to be loaded again", 30,
        )  # fmt: skip


async def test_an_engine_that_stalls_is_cut_and_replaced(tmp_path):
    """F03: the stall limit fires, the engine is replaced, heartbeats go on."""
    async with CortexServer() as cortex:
        config = config_of(tmp_path, cortex.endpoint, "stall_s = 0.3")
        async with neuron_of(config):
            session = await cortex.welcomed()
            await loaded(session, echo(default_tokens=50, stall_at_token=3))
            (before,) = engines_of(config)[-1:]
            log = await ask(session).ended()
            assert log.reset.code == "upstream_timeout"
            await until(lambda: not table.entry(before), "the stalled engine to be killed")
            assert not session.lost


async def test_a_killed_engine_and_a_client_that_goes_free_their_seats(tmp_path):
    async with CortexServer() as cortex, neuron_of(config_of(tmp_path, cortex.endpoint)) as neuron:
        session = await cortex.welcomed()
        await loaded(session, echo(default_tokens=100_000, tokens_per_second=50, parallel=1))
        log = ask(session)
        await until(lambda: log.data, "the first token")
        log.stream.reset()
        second = ask(session, request_id="r2")
        await until(lambda: second.data, "the seat to be free for the next one")
        second.stream.reset()
        await until(
            lambda: neuron.supervisor.statuses()[0].active_requests == 0, "no request to be left"
        )


# ── restarts ──────────────────────────────────────────────────────────────────────────────────


async def test_a_restarted_neuron_knows_its_configs_and_loads_nothing_by_itself(tmp_path):
    """R1.17: ModelConfigState is written to the cache and reloaded."""
    async with CortexServer() as cortex:
        config = config_of(tmp_path, cortex.endpoint)
        async with neuron_of(config):
            session = await cortex.welcomed()
            commands(session, UpsertModelConfig(config=echo(default_tokens=3)))
            await until(lambda: session.of(ProvisioningResponse), "the answer")
            epoch = session.messages[0].neuron.epoch
        async with neuron_of(config):
            session = await cortex.welcomed(2)
            register = session.messages[0]
            (status,) = register.models
            assert status.config == echo(default_tokens=3)
            assert status.state is ModelState.UNLOADED
            assert register.neuron.epoch > epoch
            assert engines_of(config) == []


async def test_a_lost_cortex_unloads_nothing_and_finds_the_same_engine_again(tmp_path):
    """P4, F09: engines outlive their cortex; it learns them again from the register."""
    async with CortexServer() as cortex:
        config = config_of(tmp_path, cortex.endpoint)
        async with neuron_of(config):
            session = await cortex.welcomed()
            await loaded(session, echo())
            before = engines_of(config)
            assert before
            session.transport.disconnect(graceful=False)
            second = await cortex.welcomed(2)
            assert second.messages[0].models[0].state is ModelState.LOADED
            assert engines_of(config) == before
            assert (await ask(second).ended()).trailer.usage.completion_tokens == 16


async def test_a_second_neuron_in_the_same_state_folder_is_refused(tmp_path):
    config = config_of(tmp_path)
    async with neuron_of(config):
        with pytest.raises(LimitError, match=rf"process {os.getpid()}\) uses the state folder"):
            await app.run(config)


# ── start and stop ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_lets_requests_finish_and_ends_the_neuron(tmp_path, number):
    """R0.35: alive until SIGINT or SIGTERM, then a clean end."""
    async with CortexServer() as cortex, neuron_of(config_of(tmp_path, cortex.endpoint)):
        session = await cortex.welcomed()
        await loaded(session, echo(default_tokens=30, tokens_per_second=60))
        log = ask(session)
        await until(lambda: log.data, "the first token")
        signal.raise_signal(number)
        await until(lambda: session.of(Shutdown), "the notice of leave")
        refused = await ask(session, request_id="r2").ended()
        assert (refused.reset.code, refused.reset.retry_elsewhere) == ("shutting_down", True)
        assert (await log.ended()).trailer.usage.completion_tokens == 30
        await until(lambda: session.lost, "the connection to end")


async def test_a_second_signal_cuts_what_runs(tmp_path):
    async with CortexServer() as cortex, neuron_of(config_of(tmp_path, cortex.endpoint)):
        session = await cortex.welcomed()
        await loaded(session, echo(default_tokens=100_000, tokens_per_second=50))
        log = ask(session)
        await until(lambda: log.data, "the first token")
        signal.raise_signal(signal.SIGTERM)
        await until(lambda: session.of(Shutdown), "the notice of leave")
        signal.raise_signal(signal.SIGTERM)
        assert (await log.ended()).reset.code == "shutting_down"


async def test_without_a_cortex_the_neuron_serves_its_state(tmp_path):
    """R0.34: the local API is up, connected or not."""
    async with neuron_of(config_of(tmp_path)) as neuron:
        status, _, body = await get(neuron.api_port, "/health")
        assert (status, json.loads(body)) == (200, {"status": "ok"})
        _, _, body = await get(neuron.api_port, "/status")
        told = json.loads(body)
        assert told["neuron"]["id"] == "n1"
        assert told["cortex"]["connected"] is False
        assert told["engines"] == [{"name": "echo", "usable": True, "because": ""}]
        assert told["capabilities"]["hardware"]["cpu_count"] >= 1
        assert TOKEN not in body.decode()


async def test_a_failed_model_is_told_with_its_log_and_its_reason(tmp_path):
    """P10: every failure has a reason; health says what is impaired."""
    async with (
        CortexServer() as cortex,
        neuron_of(config_of(tmp_path, cortex.endpoint)) as neuron,
    ):
        session = await cortex.welcomed()
        commands(session, UpsertModelConfig(config=echo(exit_on_start=7)), LoadModel(model_id="m"))
        await until(lambda: state_of(session) is ModelState.FAILED, "the load to fail", 30)
        _, _, body = await get(neuron.api_port, "/health")
        told = json.loads(body)
        assert told["status"] == "impaired"
        assert "model 'm' failed" in told["problems"][0]
        _, _, body = await get(neuron.api_port, "/status")
        (model,) = json.loads(body)["models"]
        assert model["because"]
        assert model["failures"] >= 1
        _, _, body = await get(neuron.api_port, "/metrics")
        assert b'helexa_neuron_model_up{model="m"} 0.0' in body
        assert b"helexa_build_info" in body
        assert b"helexa_event_loop_lag_seconds_bucket" in body


async def test_a_taken_api_address_is_found_before_anything_starts(tmp_path):
    config = config_of(tmp_path)
    async with neuron_of(config) as neuron:
        other = tmp_path / "other"
        other.mkdir()
        text = config_of(other)
        taken = text.api.model_copy(
            update={"socket": type(text.api.socket)("127.0.0.1", neuron.api_port)}
        )
        with pytest.raises(LimitError, match="cannot listen on 127"):
            await app.run(text.model_copy(update={"api": taken}))


async def test_a_join_token_that_others_can_read_is_refused_before_anything_starts(tmp_path):
    config = config_of(tmp_path)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(ConfigError, match="mode 0644"):
        await app.run(config)


async def test_a_neuron_that_breaks_ends_with_an_error_and_leaves_nothing(tmp_path):
    config = config_of(tmp_path)
    with pytest.raises(HelexaError, match="a fault of its own"):
        await app.run(config, lambda neuron: neuron.supervisor._world.on_broken(RuntimeError("x")))
    async with neuron_of(config):
        pass
