"""A scripted HTTP server on loopback: says, byte for byte, what a test wants an engine to say."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it arrived."""

    head: str
    body: bytes
    connection: int

    @property
    def line(self) -> str:
        return self.head.split("\r\n", 1)[0]


@dataclass
class Talk:
    """One connection, as a script sees it."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server: "EngineServer"

    async def request(self) -> Received:
        """Read one whole request; raises IncompleteReadError when the client has gone."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        length = 0
        for line in head.split("\r\n"):
            if line.lower().startswith("content-length:"):
                length = int(line.split(":")[1])
        body = await self.reader.readexactly(length)
        received = Received(head, body, self.number)
        self.server.requests.append(received)
        return received

    async def send(self, *pieces: bytes) -> None:
        """Write each piece by itself, so that the client reads them one by one."""
        for piece in pieces:
            if self.writer.is_closing():
                raise ConnectionResetError("the client has gone")
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> None:
        """Return once the client closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.server.closed_by_client += 1


Script = Callable[[Talk], Awaitable[None]]


@dataclass
class EngineServer:
    """Runs `script` for each connection; when it returns, the connection is closed."""

    script: Script
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    closed_by_client: int = 0
    open_now: int = 0
    endpoint: str = ""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> "EngineServer":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 5
        while self.open_now and loop.time() < deadline:
            await asyncio.sleep(0.005)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        try:
            await self.script(Talk(self.connections, reader, writer, self))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open_now -= 1  # only now: the FIN is out


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer with a content-length."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def chunked_head(content_type: str = "text/event-stream") -> bytes:
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
