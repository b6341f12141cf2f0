"""An HTTP client that tells how an answer ended. Every ordinary client hides just that.

It knows three endings: the framing said that the body is whole (CLEAN), the connection ended
before that (CUT), or we left (LEFT).
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

HOST = "127.0.0.1"


class Ending(StrEnum):
    CLEAN = "clean"
    CUT = "cut"
    LEFT = "left"


@dataclass
class Answer:
    """One answer, as far as it came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ended: Ending = Ending.CUT
    head_at: float = 0.0
    data_at: list[float] = field(default_factory=list)
    """When each piece of the body came, on the monotonic clock."""
    ended_at: float = 0.0

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code, of a refusal."""
        return str(self.json()["error"]["code"])

    # ── as a stream of server-sent events ─────────────────────────────────────────────────────

    @property
    def events(self) -> list[str]:
        """The data of every whole event; comments are left out."""
        whole = self.body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]
        return [
            line[len("data:") :].strip()
            for block in whole
            for line in block.decode().split("\n")
            if line.startswith("data:")
        ]

    @property
    def comments(self) -> list[str]:
        return [line for line in self.body.decode().split("\n") if line.startswith(":")]

    @property
    def done(self) -> bool:
        return bool(self.events) and self.events[-1] == "[DONE]"

    @property
    def chunks(self) -> list[dict[str, Any]]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def error(self) -> dict[str, Any] | None:
        """What the error event says, of a stream that broke."""
        return next((chunk["error"] for chunk in self.chunks if "error" in chunk), None)

    @property
    def text(self) -> str:
        """The text of the first choice so far, of a chat or a completion."""
        parts = []
        for chunk in self.chunks:
            for choice in chunk.get("choices", ()):
                if choice.get("index", 0) == 0:
                    parts.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
        return "".join(parts)

    @property
    def finish_reason(self) -> str | None:
        reasons = [
            choice["finish_reason"]
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
            if choice.get("finish_reason")
        ]
        return reasons[-1] if reasons else None

    @property
    def usage(self) -> dict[str, Any] | None:
        found = [chunk["usage"] for chunk in self.chunks if chunk.get("usage")]
        return found[-1] if found else None


class Connection:
    """One TCP connection to a server on loopback."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, receive_buffer_bytes: int | None = None) -> "Connection":
        plug = socket.socket()
        plug.setblocking(False)
        if receive_buffer_bytes is not None:  # before connecting: it bounds the window
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        await asyncio.get_running_loop().sock_connect(plug, (HOST, port))
        limit = 4096 if receive_buffer_bytes is not None else 1 << 16
        return cls(*await asyncio.open_connection(sock=plug, limit=limit))

    def send(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        lines = {"host": HOST, "content-length": str(len(body)), **(headers or {})}
        if body:
            lines.setdefault("content-type", "application/json")
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)

    async def receive(self, answer: Answer | None = None, *, head_only: bool = False) -> Answer:
        """Read an answer into `answer` as it comes, so that others can watch it grow."""
        answer = answer if answer is not None else Answer()
        try:
            await self._head(answer)
            answer.head_at = time.monotonic()
            if not head_only:
                await self._body(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            answer.ended = Ending.CUT
        except asyncio.CancelledError:
            answer.ended = Ending.LEFT
            raise
        answer.ended_at = time.monotonic()
        return answer

    async def _head(self, answer: Answer) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        answer.status = int(first.split(" ")[1])
        for line in lines:
            name, colon, value = line.partition(":")
            if colon:
                answer.headers[name.lower()] = value.strip()
        if answer.status == 100:
            answer.headers.clear()
            await self._head(answer)

    async def _body(self, answer: Answer) -> None:
        if answer.status in {204, 304}:
            answer.ended = Ending.CLEAN
        elif answer.headers.get("transfer-encoding") == "chunked":
            await self._chunks(answer)
        elif "content-length" in answer.headers:
            answer.body = await self.reader.readexactly(int(answer.headers["content-length"]))
            answer.ended = Ending.CLEAN
        else:  # the end of the connection is the end of the body: nothing tells a cut from an end
            answer.body = await self.reader.read()
            answer.ended = Ending.CUT

    async def _chunks(self, answer: Answer) -> None:
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).partition(b";")[0], 16)
            data = await self.reader.readexactly(size + 2)
            if not size:
                answer.ended = Ending.CLEAN
                return
            answer.body += data[:-2]
            answer.data_at.append(time.monotonic())

    def leave(self) -> None:
        """Go away without a word, as a closed laptop does: the socket is reset."""
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def ask(
    port: int,
    method: str,
    path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    answer: Answer | None = None,
) -> Answer:
    """Send one request on a connection of its own and read the whole answer."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    connection = await Connection.open(port)
    try:
        connection.send(method, path, raw, headers)
        return await connection.receive(answer)
    finally:
        await connection.close()


async def exchange_bytes(port: int, data: bytes, within_s: float = 5.0) -> bytes:
    """Send bytes as they are; return all that comes back until the server ends or goes quiet."""
    connection = await Connection.open(port)
    received = b""
    try:
        connection.writer.write(data)
        async with asyncio.timeout(within_s):
            while piece := await connection.reader.read(1 << 16):
                received += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        connection.leave()
    return received
