"""Who may join and who may be asked: join tokens, TLS on both doors, servers that run already."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from helexa.model_runtime.echo_text import expected_text
from tests.e2e.echoes import CHAT, body, echo, stats, streams
from tests.e2e.polling import eventually, wait_until
from tests.e2e.roles import ROOT, Role
from tests.e2e.stack import Stack, free_ports, get
from tests.e2e.wire import HOST, Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
ECHO_SERVER = ROOT / "src" / "helexa" / "model_runtime" / "echo_server.py"


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_only_a_neuron_with_the_token_joins() -> None:
    """S11: without it or with another one there is no neuron, and the log says why."""
    stack = Stack(
        [echo()], neurons=(), cortex={"control_plane": {"join_token_file": "token"}}, wait_for=()
    )
    token = os.urandom(24).hex()
    secret_file(stack.folder / "token", token)
    secret_file(stack.folder / "other", os.urandom(24).hex())
    with stack:
        strangers = [
            stack.add_neuron("bare"), stack.add_neuron("wrong", {"join_token_file": "other"})
        ]  # fmt: skip
        for stranger in strangers:
            stranger.start()
        for name, role in zip(("bare", "wrong"), strangers, strict=True):
            await eventually(lambda n=name: get(stack.api[n], "/status")[0] == 200, name, 20)
            await eventually(
                lambda n=name: stack.neuron_status(n)["cortex"]["last_reason"], "turned away", 20
            )
            assert not stack.neuron_status(name)["cortex"]["connected"]
            assert "the join token is missing, wrong or too old" in role.log()
        friend = stack.add_neuron("friend", {"join_token_file": "token"})
        friend.start()
        await eventually(lambda: stack.states().get("echo") == "loaded", "echo loaded", 30)
        assert (await ask(stack.gateway, "POST", CHAT, body("echo", 3))).done
        for role in stack.roles():
            assert token not in role.log()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate for loopback that signs itself, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", names,
         "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "key.pem").chmod(0o600)
    return tmp_path / "certificate.pem", tmp_path / "key.pem"


async def test_both_doors_speak_tls(certificate: tuple[Path, Path]) -> None:
    """R1.2: the neuron dials wss:// and knows its cortex; callers reach https://."""
    public, key = (str(path) for path in certificate)
    doors = {"tls_certificate_file": public, "tls_key_file": key}
    stack = Stack(
        [echo()], neurons=(), cortex={"gateway": doors, "control_plane": doors}, wait_for=()
    )
    stack.control_url = stack.control_url.replace("ws://", "wss://")
    context = ssl.create_default_context(cafile=public)
    url = f"https://{HOST}:{stack.gateway}"
    with stack:
        stack.add_neuron("trusting", {"tls": {"ca_file": public}}).start()
        doubting = stack.add_neuron("doubting")
        doubting.start()
        await eventually(lambda: "CERTIFICATE" in doubting.log(), "the doubter says why", 20)
        async with aiohttp.ClientSession() as session:
            asked = body("echo", 40)
            for _ in range(200):
                async with session.post(
                    f"{url}{CHAT}", json=asked, ssl=context, headers={"x-request-id": "tls"}
                ) as answer:
                    text = await answer.text()
                if answer.status == 200:
                    break
                await asyncio.sleep(0.05)
            assert text.endswith("data: [DONE]\n\n")
            chunks = [json.loads(line[6:]) for line in text.splitlines() if line[:7] == "data: {"]
            said = "".join(
                choice["delta"].get("content", "") for c in chunks for choice in c["choices"]
            )
            assert said == expected_text("tls", 40)
        state = stack.neuron_status("doubting")["cortex"]
        assert not state["connected"]
        assert doubting.runs


# ── servers that run already ──────────────────────────────────────────────────────────────────


async def test_a_running_server_is_attached_and_outlives_the_neuron() -> None:
    """R1.6: the `openai` engine starts nothing, stops nothing, and passes bytes on."""
    port = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-I", str(ECHO_SERVER), "--port", str(port), "--model-id", "upstream"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: get(port, "/health")[0] == 200, "the server is up", 20)
        model = {
            "id": "house", "engine": "openai", "listen_endpoint": f"http://{HOST}:{port}/v1",
            "options": {"upstream_model": "upstream", "embeddings": True},
        }  # fmt: skip
        with Stack([model]) as stack:
            assert stack.engines() == []
            async with streams(stack) as them:
                ids = them.start("house", 30, 8)
                await them.ended(ids, 20)
                for name in ids:
                    answer = them.answers[name]
                    assert (answer.status, answer.ended, answer.done) == (200, Ending.CLEAN, True)
                    assert answer.text.count(" ") == 30
            vectors = await ask(
                stack.gateway, "POST", "/v1/embeddings", {"model": "house", "input": "a"}
            )
            assert len(vectors.json()["data"][0]["embedding"]) == 384
        assert server.poll() is None
        assert stats(port)["active"] == 0
    finally:
        server.kill()
        server.wait()


@asynccontextmanager
async def single_route() -> AsyncIterator[int]:
    """Serve `POST /v1/chat/completions`, whole answers only, and 404 for everything else."""
    answer = json.dumps({
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop",
                     "message": {"role": "assistant", "content": "only this"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }).encode()  # fmt: skip

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            sizes = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
            await reader.readexactly(sum(sizes))
            good = head.startswith(b"POST /v1/chat/completions ")
            status, out = (b"200 OK", answer) if good else (b"404 Not Found", b"{}")
            writer.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%b" % (status, len(out), out)
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_with_one_route_only_is_good_enough() -> None:
    async with single_route() as port:
        model = {"id": "tiny", "engine": "openai", "listen_endpoint": f"http://{HOST}:{port}/v1"}
        stack = Stack([model], wait_for=())
        await asyncio.to_thread(stack.__enter__)
        try:
            await eventually(lambda: stack.states().get("tiny") == "loaded", "tiny loaded", 30)
            answer = await ask(stack.gateway, "POST", CHAT, body("tiny", 5, stream=False))
            assert answer.status == 200, answer.body
            assert answer.json()["choices"][0]["message"]["content"] == "only this"
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)


def test_a_cortex_beyond_loopback_without_token_or_keys_does_not_start(tmp_path: Path) -> None:
    """R0.38: it says what to do, binds nothing, and there is no traceback."""
    first = free_ports(2)
    (tmp_path / "cortex.toml").write_text(
        f'[gateway]\nsocket = "0.0.0.0:{first}"\n[control_plane]\nsocket = "0.0.0.0:{first + 1}"\n'
    )
    role = Role("open", ["cortex", "--config", "cortex.toml", "--state-dir", "state"], tmp_path)
    role.start()
    assert role.wait() == 78
    assert "gateway.socket" in role.log()
    assert "control_plane.socket" in role.log()
    role.assert_clean_log()
