"""Turns a status, header lines and a body into the bytes of an answer. Pure."""

from http import HTTPStatus
from typing import Final

from helexa.protocol.errors import Refusal, envelope

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
BODILESS: Final = frozenset((*range(100, 200), 204, 304))
"""An answer of these has neither a body nor a length."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE: Final = b"connection: close\r\n"
CHUNKED: Final = b"transfer-encoding: chunked\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


def status_line(status: int) -> bytes:
    """Return the status line; a status that has no name gets none, as HTTP allows."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def refusal_answer(_exchange: object, refusal: Refusal) -> tuple[int, bytes, bytes]:
    """Return status, header lines and body of a refusal: the envelope, and when to retry."""
    retry_after = refusal.retry_after
    retry = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
    return refusal.status, b"content-type: application/json\r\n" + retry, envelope(refusal)
