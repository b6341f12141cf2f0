"""Header lines of answers, ready to send. Pure."""

from typing import Final

from helexa.protocol.dialects.dialect import OPENAI, Dialect
from helexa.protocol.errors import CODES, ErrorCode, Refusal

JSON: Final = b"content-type: application/json\r\n"
TEXT: Final = b"content-type: text/plain; charset=utf-8\r\n"
SSE: Final = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


def refusal_lines(refusal: Refusal) -> bytes:
    """Return the header lines of an error answer: its type, and when a retry makes sense."""
    lines = JSON
    wait_s = refusal.retry_after
    if wait_s is not None:
        lines += _retry_after(wait_s)
    elif CODES[refusal.code].status >= 500 and refusal.code is not ErrorCode.UPSTREAM_TIMEOUT:
        lines += b"x-should-retry: false\r\n"
    if refusal.code is ErrorCode.INVALID_API_KEY:
        lines += b'www-authenticate: Bearer realm="helexa"\r\n'
    return lines


def refusal_answer(
    refusal: Refusal, request_id: str, dialect: Dialect = OPENAI
) -> tuple[int, bytes, bytes]:
    """Return status, header lines and body of a refusal, in the caller's dialect."""
    body = dialect.envelope(refusal, request_id)
    return dialect.status_of(refusal), refusal_lines(refusal), body


def relayed_lines(content_type: str, retry_after_s: int | None) -> bytes:
    """Return the header lines of an answer that came from a neuron; nothing else is passed on."""
    if content_type == "application/json" and retry_after_s is None:
        return JSON
    if content_type.startswith("text/event-stream"):
        return SSE
    kept = content_type if content_type.isprintable() and content_type.isascii() else ""
    lines = JSON if kept in {"", "application/json"} else f"content-type: {kept}\r\n".encode()
    if retry_after_s is not None:
        lines += _retry_after(retry_after_s)
    return lines


def _retry_after(wait_s: int) -> bytes:
    return b"retry-after: %d\r\n" % min(max(wait_s, 1), 30)
