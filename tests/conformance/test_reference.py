"""The edge and a plain aiohttp server take every recorded request for the same request."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.listening import open_sockets
from helexa.cortex.gateway.edge.server import EdgeServer
from tests.conformance.http_cases import Case, cases
from tests.conformance.recorded_requests import RECORDED
from tests.fakes.reference_gateway import Understood, reference_gateway


def echo(exchange: Exchange) -> None:
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()
    }
    target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    understood = Understood(exchange.method, target, headers, exchange.body)
    exchange.respond(200, b"content-type: application/json\r\n", understood.encoded())


@asynccontextmanager
async def edge() -> AsyncIterator[tuple[str, int]]:
    server = EdgeServer(echo)
    await server.start(open_sockets("127.0.0.1", 0))
    host, _, port = server.addresses[0].rpartition(":")
    try:
        yield host, int(port)
    finally:
        await server.close()


async def understood(host: str, port: int, raw: bytes) -> Understood:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(raw)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 OK\r\n" in head
        length = re.search(rb"content-length: (\d+)\r\n", head.lower())
        assert length
        body = await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()
    return msgspec.json.decode(body, type=Understood)


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_request_is_understood_as_by_the_reference(name: str) -> None:
    raw = RECORDED[name]
    if raw.startswith(b"HEAD"):
        raw = b"GET" + raw[4:]  # the answer says what was understood, so it needs its body
    async with edge() as ours, reference_gateway() as theirs:
        assert await understood(*ours, raw) == await understood(*theirs, raw)


# Refused by every server that reads HTTP at all: here the reference has to agree.
UNAMBIGUOUS = (
    "CL.TE",
    "TE.CL",
    "length: plus",
    "length: hexadecimal",
    "length: minus",
    "length: a letter behind",
    "length: twice, small first",
    "coding: b'chunked, chunked'",
    "coding: b'xchunked'",
    "header line: no colon",
    "header line: space before the colon",
    "header line: folded with a space",
    "value with 0x00",
    "name with 0x20",
    "request line: HTTP/1.2",
    "request line: TLS to a plain port",
    "chunk size: letters",
    "chunk size: minus",
    "chunk size: 0x",
    "chunk size: space in front",
    "chunk: LF after the data",
    "chunk: nothing after the data",
    "CR CR LF",
)


@pytest.mark.parametrize("name", UNAMBIGUOUS)
async def test_what_is_certainly_wrong_is_refused_by_both(name: str) -> None:
    [case] = [case for case in cases() if case.name == name]
    async with edge() as ours, reference_gateway() as theirs:
        for host, port in (ours, theirs):
            assert await first_status(host, port, case) in (400, 431)


async def first_status(host: str, port: int, case: Case) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"".join(case.pieces))
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    with contextlib.suppress(ConnectionError):  # closed with our bytes unread: a reset is in order
        await writer.wait_closed()
    return int(line.split()[1])
