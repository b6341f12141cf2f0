"""Neurons that die, come twice, speak another language or nonsense, beside one that works."""

import asyncio
import random
from collections.abc import Iterator

import aiohttp
import pytest

from helexa.protocol.codec import encode
from helexa.protocol.control import Register
from helexa.protocol.ids import NeuronId
from helexa.protocol.join import CLOSE_VERSION_MISMATCH, CONTROL_PATH, HEADER_NODE
from helexa.protocol.neuron import Capabilities, HardwareReport, NeuronDescriptor
from helexa.protocol.version import VERSION
from tests.e2e import roles
from tests.e2e.echoes import CHAT, body, echo, engine_of, neuron_with, streams
from tests.e2e.polling import eventually
from tests.e2e.stack import Stack, get
from tests.e2e.wire import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RATE = 40
ONE_ECHO_BYTES = 80 << 20
"""Room for one echo engine (48 MiB) but not for two, so that each neuron gets one."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models = [echo("left", tokens_per_second=RATE), echo("right", tokens_per_second=RATE)]
    with Stack(
        models, neurons=("n1", "n2"), neuron={"memory_budget_bytes": ONE_ECHO_BYTES}
    ) as stack:
        yield stack


async def both_loaded(stack: Stack) -> None:
    await eventually(lambda: set(stack.states().values()) == {"loaded"}, "both models loaded", 60)


def control_address(stack: Stack) -> str:
    return f"{stack.control_url}{CONTROL_PATH}"


async def test_kill_9_of_a_neuron_mid_stream_leaves_no_engine_and_no_silent_stream(
    stack: Stack,
) -> None:
    """F01, R1.17, R1.18, R1.45: and the restarted neuron serves again by itself."""
    await both_loaded(stack)
    lost, kept = neuron_with(stack, "left"), neuron_with(stack, "right")
    assert lost != kept
    async with streams(stack) as them:
        survivors = them.start("right", 200, 32)
        victims = them.start("left", 4000, 32)
        await them.flowing([*survivors, *victims])
        orphans = roles.descendants(stack.neurons[lost].pid)
        assert orphans
        stack.neurons[lost].kill()
        await them.ended(victims, 5)
        them.assert_broken_and_told(victims)
        await asyncio.to_thread(roles.wait_gone, orphans, 5.0)
        # Nothing can serve it now: an answer at once or after the hold, never a hanging caller.
        held = asyncio.create_task(ask(stack.gateway, "POST", CHAT, body("left", 3)))
        await them.ended(survivors, 30)
        them.assert_whole(survivors)
        stack.neurons[lost].start()
        await both_loaded(stack)
        async with asyncio.timeout(30):
            answer = await held
        assert answer.status in {200, 503}, answer.body
        again = them.start("left", 10, 8)
        await them.ended(again, 20)
        them.assert_whole(again)


async def test_a_neuron_remembers_its_models_without_a_cortex(stack: Stack) -> None:
    """R1.17: restart the neuron, config still known."""
    await both_loaded(stack)
    name = neuron_with(stack, "left")
    stack.neurons[name].stop()
    stack.neurons[name].start()
    await eventually(lambda: get(stack.api[name], "/status")[0] == 200, "the neuron's API", 20)
    assert "left" in str(stack.neuron_status(name))
    await both_loaded(stack)


async def test_a_second_neuron_of_the_same_name_is_turned_away(stack: Stack) -> None:
    """F17: exactly one is active, and the first one does not notice."""
    await both_loaded(stack)
    name = neuron_with(stack, "left")
    twin = stack.add_neuron("twin", node_id=name)
    async with streams(stack) as them:
        ids = them.start("left", 160, 16)
        await them.flowing(ids)
        twin.start()
        try:
            await eventually(
                lambda: any(word in twin.log() for word in ("taken", "4409", "same")),
                "the twin was told why", 20,
            )  # fmt: skip
            await them.ended(ids, 30)
            them.assert_whole(ids)
            assert neuron_with(stack, "left") == name
        finally:
            twin.stop()
            del stack.neurons["twin"]
    twin.assert_clean_log()


def register(name: str, version: int) -> str:
    """Return the first frame of a neuron that speaks only `version`."""
    nothing = HardwareReport(cpu_count=1, memory_total_bytes=0, memory_available_bytes=0)
    frame = Register(
        version_min=version,
        version_max=version,
        neuron=NeuronDescriptor(id=NeuronId(name), epoch=1),
        capabilities=Capabilities(hardware=nothing, engines=("echo",), memory_budget_bytes=0),
    )
    return encode(frame).decode()


async def test_a_neuron_that_speaks_another_version_is_told_so(stack: Stack) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(control_address(stack), headers={HEADER_NODE: "future"}) as socket,
    ):
        await socket.send_str(register("future", 99))
        told = []
        async with asyncio.timeout(10):
            async for message in socket:
                told.append(message)
        assert socket.close_code == CLOSE_VERSION_MISMATCH, told
    assert stack.neurons["n1"].runs


async def test_a_first_message_that_is_not_register_is_refused(stack: Stack) -> None:
    """R1.24."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(control_address(stack), headers={HEADER_NODE: "rude"}) as socket,
    ):
        await socket.send_json({"kind": "heartbeat", "sequence": 1})
        async with asyncio.timeout(10):
            async for _ in socket:
                pass
        assert socket.close_code is not None
        assert socket.close_code >= 1002


def mutated(entropy: random.Random) -> bytes:
    """Return bytes that look a little like a frame that a client may send."""
    kinds = ("header", "text", "binary", "noise")
    kind = entropy.choice(kinds)
    if kind == "noise":
        return entropy.randbytes(entropy.randrange(1, 40))
    opcode = {"text": 0x81, "binary": 0x82, "header": entropy.randrange(256)}[kind]
    payload = entropy.randbytes(entropy.randrange(0, 60))
    length = entropy.choice([len(payload), 126, 127, entropy.randrange(126)])
    masked = entropy.choice([0x80, 0x80, 0x80, 0])
    return bytes([opcode, masked | length]) + entropy.randbytes(4 if masked else 0) + payload


async def attack(stack: Stack, entropy: random.Random, frames: int) -> int:
    """Send broken websocket frames until the connection is closed; return how many were sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.control_plane)
    sent = 0
    try:
        writer.write(
            b"GET %b HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n"
            b"%b: enemy%d\r\n\r\n"
            % (CONTROL_PATH.encode(), HEADER_NODE.encode(), entropy.randrange(1000))
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        for _ in range(frames):
            writer.write(mutated(entropy))
            sent += 1
            await writer.drain()
            if reader.at_eof():
                break
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return sent


async def betray(stack: Stack, entropy: random.Random, frames: int) -> int:
    """Join as a neuron, then send nonsense in good frames until it is closed; return how many."""
    name = f"traitor{entropy.randrange(10**6)}"
    sent = 0
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(control_address(stack), headers={HEADER_NODE: name}) as socket,
    ):
        first = register(name, VERSION)
        await socket.send_str(first)
        assert b'"welcome"' in (await socket.receive()).data.encode()
        try:
            for _ in range(frames):
                if entropy.random() < 0.5:
                    at = entropy.randrange(len(first))
                    junk = entropy.choice(['"', "{", "[", "\\", "9" * 30, ""])
                    await socket.send_str(first[:at] + junk + first[at + 1 :])
                else:
                    kind = bytes([entropy.randrange(8)])
                    await socket.send_bytes(kind + entropy.randbytes(entropy.randrange(0, 40)))
                sent += 1
        except ConnectionError:
            pass
    return sent


async def test_10_000_malformed_frames_disturb_nobody(stack: Stack) -> None:
    """F21: no crash, no traceback; another neuron's streams go on, byte for byte."""
    await both_loaded(stack)
    entropy = random.Random(20261122)
    async with streams(stack) as them:
        sent = 0
        while sent < 10_000:
            ids = them.start("right", 40, 4)
            for _ in range(50):
                sent += await attack(stack, entropy, 50)
                sent += await betray(stack, entropy, 50)
            await them.ended(ids, 30)
            them.assert_whole(ids)
    stack.cortex.assert_runs()
    stack.cortex.assert_clean_log()
    assert stack.states() == {"left": "loaded", "right": "loaded"}


async def test_sigterm_of_a_neuron_lets_its_streams_finish(stack: Stack) -> None:
    """R0.35: bounded, exit status 0, and no stream is lost."""
    await both_loaded(stack)
    name = neuron_with(stack, "left")
    engine = engine_of(stack, "left")
    async with streams(stack) as them:
        ids = them.start("left", 80, 8)
        await them.flowing(ids)
        await asyncio.to_thread(stack.neurons[name].stop)
        await them.ended(ids, 10)
        them.assert_whole(ids)
    assert not roles.is_alive(engine)
    stack.neurons[name].start()
    await both_loaded(stack)


async def test_without_any_neuron_callers_are_told_to_come_again() -> None:
    """R1.45: 503 with Retry-After, and cortex stays up."""
    settings = {"gateway": {"hold_for_load_s": 0}}
    with Stack([echo()], neurons=(), cortex=settings, wait_for=()) as stack:
        for _ in range(3):
            answer = await ask(stack.gateway, "POST", CHAT, body("echo", 3))
            assert answer.status == 503, answer.body
            assert answer.code in {"service_unavailable", "model_loading"}
            assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert get(stack.gateway, "/health")[0] == 200
        assert get(stack.gateway, "/readyz")[0] == 503
