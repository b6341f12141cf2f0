"""The neuron's end of the control connection, against a real websocket server."""

import asyncio

import pytest

from helexa.neuron.control_plane.client import ControlSettings
from helexa.neuron.control_plane.link import End
from helexa.protocol.control import (
    Heartbeat,
    Register,
    Shutdown,
    ShutdownNotice,
    Welcome,
)
from helexa.protocol.join import NonceMemory, check_proof
from helexa.protocol.version import VERSION
from helexa.util.clock import SystemClock
from tests.fakes.control_neuron import neuron_of
from tests.fakes.cortex_server import CortexServer
from tests.fakes.exchange_log import until


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request):
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


# ── registration ──────────────────────────────────────────────────────────────────────────────


async def test_register_comes_first_then_heartbeats_with_rising_numbers():
    """R1.18, R1.19: connects, registers first, then sends heartbeats at the interval it is told."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        session = await cortex.session()
        await until(lambda: len(session.of(Heartbeat)) >= 4, "four heartbeats")
        register = session.messages[0]
        assert isinstance(register, Register)
        assert (register.version_min, register.version_max) == (1, VERSION)
        assert register.neuron.id == "n1"
        assert register.capabilities.engines == ("echo",)
        assert [status.model_id for status in register.models] == ["m"]
        assert [beat.sequence for beat in session.of(Heartbeat)][:4] == [1, 2, 3, 4]
        assert session.path == "/v1/neuron"


async def test_the_join_token_is_proven_and_never_sent():
    """S11, S14: each handshake carries a fresh proof, and a captured one is worth nothing."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, token="s3cret-token"):
        await cortex.welcomed()
        cortex.sessions[0].transport.disconnect()
        await cortex.session(2)
        clock, memory = SystemClock(), NonceMemory()
        for headers in cortex.handshakes[:2]:
            assert headers["x-helexa-node"] == "n1"
            proof = check_proof("s3cret-token", "n1", headers["x-helexa-join"], clock.wall())
            assert memory.is_new(proof.nonce, clock.wall())
            assert "s3cret" not in str(headers)


async def test_without_a_token_no_proof_is_sent():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        await cortex.welcomed()
        assert "x-helexa-join" not in cortex.sessions[0].headers


# ── coming back ───────────────────────────────────────────────────────────────────────────────


async def test_a_cortex_that_dies_within_the_handshake_was_not_reached():
    """kill -9 after it has taken the connection and before it answers: an assertion failed."""

    async def dying(_reader, writer):
        writer.close()

    server = await asyncio.start_server(dying, "127.0.0.1", 0)
    endpoint = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, neuron_of(endpoint) as neuron:
        await until(lambda: neuron.client.state.attempts > 2, "more than one try")
        assert neuron.client.state.last_end == End.UNREACHABLE
        assert "closed the connection within the handshake" in neuron.client.state.last_reason


async def test_a_lost_connection_is_dialled_again_every_time():
    """F1: not only the first connection is dialled; R1.18."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint):
        for number in range(1, 6):
            session = await cortex.welcomed(number)
            session.transport.disconnect(graceful=False)
        await cortex.welcomed(6)


async def test_a_cortex_that_is_late_or_restarts_is_found():
    """P4: the neuron keeps its models and comes back to a cortex that restarts."""
    cortex = CortexServer()
    await cortex.start()
    await cortex.stop()
    async with neuron_of(cortex.endpoint) as neuron:
        await until(lambda: neuron.client.state.last_end == End.UNREACHABLE, "a failed attempt")
        assert not neuron.client.state.connected
        await cortex.start()
        await cortex.welcomed()
        await cortex.stop()
        await cortex.start()
        session = await cortex.welcomed(2)
        assert [status.model_id for status in session.messages[0].models] == ["m"]
        await cortex.stop()


async def test_the_delays_double_and_start_over_after_a_stable_connection():
    """F1: backoff resets after a stable period."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, stable_s=3600) as neuron:
        for number in range(1, 4):
            (await cortex.welcomed(number)).transport.disconnect()
        await cortex.welcomed(4)
        assert neuron.client.state.attempts == 3
    async with CortexServer() as cortex, neuron_of(cortex.endpoint, stable_s=0.0) as neuron:
        for number in range(1, 4):
            (await cortex.welcomed(number)).transport.disconnect()
        await cortex.welcomed(4)
        assert neuron.client.state.attempts == 1


def test_no_neuron_waits_longer_than_a_fleet_may_take_to_be_whole_again():
    """F09: the first success within 5 s after the listener is back, however long it was away."""
    assert all(ControlSettings("ws://a:1").backoff.bound_s(n) < 5.0 for n in range(100))


async def test_a_silent_cortex_is_given_up_and_dialled_again():
    """F11: a half-open connection is found by silence, not by TCP."""
    async with CortexServer(answers_pings=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        await until(lambda: session.lost, "the neuron to give the silent cortex up")
        assert session.pings >= 1
        await cortex.session(2)
        assert neuron.client.state.last_end == End.SILENT


async def test_a_notice_of_leave_is_followed_by_a_soon_return():
    """F09: cortex leaves; the neuron waits as it was told and dials again."""
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        session.say(ShutdownNotice(reason="update", reconnect_after_s=0.05))
        session.close(1001)
        await cortex.welcomed(2)
        assert neuron.client.state.last_end == End.NOTICE


# ── cortex says no ────────────────────────────────────────────────────────────────────────────


async def test_a_taken_node_id_is_told_and_tried_again_slowly():
    """F17: another neuron with this id is connected."""
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        (await cortex.session()).close(4409, b"n1 is connected from elsewhere")
        await until(lambda: neuron.client.state.last_end, "the end")
        assert neuron.client.state.last_end == End.NODE_ID_TAKEN
        assert "elsewhere" in neuron.client.state.last_reason
        await cortex.session(2)


@pytest.mark.parametrize("how", ["welcome", "close"])
async def test_no_common_version_is_told_and_tried_again_slowly(how):
    async with CortexServer(welcomes=False) as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.session()
        if how == "welcome":
            session.say(Welcome(version=99, cortex_id="c", heartbeat_interval_s=1))
        else:
            session.close(4406, b"we speak 7 to 9")
        await until(lambda: neuron.client.state.last_end, "the end")
        assert neuron.client.state.last_end == End.VERSION
        assert not neuron.client.state.connected
        await cortex.session(2)


async def test_a_refused_handshake_is_told_and_tried_again():
    async with CortexServer(status=401) as cortex, neuron_of(cortex.endpoint) as neuron:
        await until(lambda: len(cortex.handshakes) >= 2, "another try")
        assert neuron.client.state.last_end == End.REFUSED
        assert "join token" in neuron.client.state.last_reason


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: ws://127.0.0.1:1/v1/neuron\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\xff" * 100_000,
    ],
)
async def test_something_that_is_no_cortex_does_not_stop_the_dialling(reply):
    """S11: a proof is never sent after a redirect."""
    tries = []

    async def serve(reader, writer):
        tries.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with neuron_of(endpoint, token="t"):
        await until(lambda: len(tries) >= 3, "three tries")
    server.close()


# ── frames that make no sense ─────────────────────────────────────────────────────────────────


# ── provisioning ──────────────────────────────────────────────────────────────────────────────


async def test_reports_without_a_connection_are_left_to_the_next_register():
    cortex = CortexServer()
    await cortex.start()
    await cortex.stop()
    async with neuron_of(cortex.endpoint) as neuron:
        neuron.client.report(neuron.face.models[0])
        neuron.client.announce_leave("x")
        await cortex.start()
        assert isinstance((await cortex.welcomed()).messages[1], Heartbeat)
        await cortex.stop()


async def test_leaving_is_told_before_the_connection_ends():
    async with CortexServer() as cortex, neuron_of(cortex.endpoint) as neuron:
        session = await cortex.welcomed()
        neuron.client.announce_leave("shutdown")
        await until(lambda: session.of(Shutdown), "the notice")
        assert not session.lost


# ── the tunnel ────────────────────────────────────────────────────────────────────────────────
