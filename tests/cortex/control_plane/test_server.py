"""The door: paths, proofs and limits, before any websocket exists; and the watch."""

import asyncio
import time

import pytest
from picows import WSInvalidStatusError

from helexa.cortex.control_plane.server import ConnectionLimits
from helexa.protocol.join import HEADER_NODE, HEADER_PROOF, make_proof
from tests.fakes.control_plane import ControlPlane, control_plane, dial
from tests.fakes.fleet import register
from tests.fakes.waiting import until

TOKEN = "correct horse battery staple"


def proof(node: str = "n1", token: str = TOKEN, nonce: str = "0123456789abcdef") -> dict[str, str]:
    return {HEADER_NODE: node, HEADER_PROOF: make_proof(token, node, int(time.time()), nonce)}


async def refused(plane: ControlPlane, headers: dict[str, str] | None = None) -> int:
    with pytest.raises(WSInvalidStatusError) as caught:
        await dial(plane, headers)
    response = caught.value.response
    assert response is not None
    return int(response.status)


async def test_a_proven_neuron_joins() -> None:
    async with control_plane(token=TOKEN) as plane:
        neuron = await dial(plane, proof())
        neuron.say(register("n1"))
        await neuron.welcome()


async def test_no_proof_is_401_before_the_upgrade_and_leaves_nothing() -> None:
    async with control_plane(token=TOKEN) as plane:
        assert await refused(plane) == 401
        assert await refused(plane, proof(token="a wrong token")) == 401
        assert len(plane.server) == 0
        assert len(plane.links) == 0
        assert b"helexa_neuron_joins_refused_total" in plane.metrics.render()


async def test_a_replayed_proof_is_refused() -> None:
    async with control_plane(token=TOKEN) as plane:
        headers = proof()
        await dial(plane, headers)
        assert await refused(plane, headers) == 401


async def test_a_neuron_may_not_register_under_another_name_than_it_proved() -> None:
    async with control_plane(token=TOKEN) as plane:
        neuron = await dial(plane, proof("n1"))
        neuron.say(register("n2"))
        assert await neuron.closed() == 1008
        assert "n1" in neuron.close_reason


async def test_refusals_are_logged_at_a_bounded_rate_and_without_the_token() -> None:
    async with control_plane(token=TOKEN) as plane:
        for number in range(20):
            await refused(plane, proof(nonce=f"{number:016x}", token="wrong"))
        lines = [line for line in plane.log if line["event"] == "join_refused"]
        assert 1 <= len(lines) < 20
        assert TOKEN not in str(plane.log)


async def raw(plane: ControlPlane, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port)
    writer.write(request)
    answer = await reader.read(65536)
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /v1/neuron/ HTTP/1.1", b"404"),
        (b"GET /v1/neuron?x=1 HTTP/1.1", b"404"),
        (b"GET http://evil/v1/neuron HTTP/1.1", b"404"),
        (b"POST /v1/neuron HTTP/1.1", b"400"),
        (b"GET /v1/neuron HTTP/1.1", b"400"),
        (b"\x00\x01\x02", b"400"),
    ],
)
async def test_what_is_no_neuron_gets_an_http_answer(request_line: bytes, status: bytes) -> None:
    async with control_plane() as plane:
        answer = await raw(plane, request_line + b"\r\nHost: x\r\n\r\n")
        assert answer.split(b" ", 2)[1] == status
        await until(lambda: len(plane.server) == 0, "nothing is left of it")
        assert len(plane.links) == 0


async def test_more_neurons_than_allowed_are_turned_away() -> None:
    limits = ConnectionLimits(neurons_max=2, watch_interval_s=0.05)
    async with control_plane(limits=limits) as plane:
        first = await dial(plane)
        await dial(plane)
        assert await refused(plane) == 503
        first.cut()
        await until(lambda: len(plane.server) == 1, "a place is free")
        await dial(plane)


async def test_a_stopping_cortex_takes_no_new_neurons() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        plane.server.stop_accepting()
        with pytest.raises((OSError, WSInvalidStatusError)):
            await dial(plane)
        assert not neuron.gone, "those that are there stay"


async def test_closing_says_going_away() -> None:
    async with control_plane() as plane:
        neuron = await dial(plane)
        neuron.say(register("n1"))
        await neuron.welcome()
        await plane.server.close()
        assert await neuron.closed() == 1001
        assert len(plane.server) == 0
