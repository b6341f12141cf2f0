"""Reads answers off the wire strictly, and plays a case against a listening server."""

import asyncio
import contextlib
import re
from dataclasses import dataclass

from tests.conformance.http_cases import Case

_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*\r\n")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t -~\x80-\xff]*)\r\n")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    body: bytes
    whole: bool = True


class NotAnAnswerError(AssertionError):
    """The server sent bytes that are no HTTP answer: one too many, or a broken one."""


def parse_answers(data: bytes, *, head_only: tuple[int, ...] = ()) -> list[Answer]:
    """Take a whole output apart; 100 Continue is an answer too.

    `head_only` has the places of answers to HEAD requests. An answer that is cut short has
    `whole=False`; bytes that are no answer raise.
    """
    answers: list[Answer] = []
    while data:
        end = data.find(b"\r\n\r\n")
        matched = _STATUS.match(data)
        if matched is None or end < 0:
            raise NotAnAnswerError(f"not an answer: {data[:80]!r}")
        headers: dict[bytes, bytes] = {}
        position = matched.end()
        while position < end + 2:
            field = _FIELD.match(data, position)
            if field is None or field[1].lower() in headers:
                raise NotAnAnswerError(f"bad header: {data[position : position + 80]!r}")
            headers[field[1].lower()] = field[2]
            position = field.end()
        status, rest = int(matched[1]), data[end + 4 :]
        if len(answers) in head_only or status in (100, 204, 304):
            body, data, whole = b"", rest, True
        elif b"transfer-encoding" in headers:
            body, data, whole = _unchunk(rest)
        elif b"content-length" in headers:
            size = int(headers[b"content-length"])
            body, data, whole = rest[:size], rest[size:], len(rest) >= size
        else:
            body, data, whole = rest, b"", True
        answers.append(Answer(status, headers, body, whole))
    return answers


def _unchunk(data: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return body, b"", False
        size = int(line, 16)
        if size == 0:
            return (body, data[2:], True) if data[:2] == b"\r\n" else (body, b"", False)
        if len(data) < size + 2:
            return body + data[:size], b"", False
        if data[size : size + 2] != b"\r\n":
            raise NotAnAnswerError("a chunk without its end")
        body += data[:size]
        data = data[size + 2 :]


async def play(host: str, port: int, case: Case, sentinel: bytes) -> list[Answer]:
    """Send a case and return its answers, which are all that came: the connection has ended.

    After a case that leaves the connection open, `sentinel` (a request with `connection: close`)
    is sent, so that the end of the answers is known without waiting; its answer is left out.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        received = asyncio.ensure_future(_read_all(reader))
        for piece in (*case.pieces, *(() if case.closes else (sentinel,))):
            with contextlib.suppress(ConnectionError):
                writer.write(piece)
                await writer.drain()
        data = await asyncio.wait_for(received, 20)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    answers = [a for a in parse_answers(data, head_only=case.head_only) if a.status != 100]
    return answers if case.closes else answers[:-1]


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            data += piece
    return data
