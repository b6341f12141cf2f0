"""What a request head may look like, letter by letter. Pure.

The pattern below is the whole truth about syntax: RFC 9112 without its leniencies. No bare LF or
CR, no empty line in front, no folded line, no space around a field name, no control character, no
absolute-form target, HTTP/1.0 and 1.1 only. llhttp reads the head after it and must agree; alone
it would take `GET /\\r\\n`, two spaces, `HTTP/2.0`, `ICE/1.0`, an absolute target, empty lines in
front, `Transfer-Encoding: gzip, chunked`, and that header on HTTP/1.0 (httptools 0.9).

Quantifiers are possessive (`++`, `*+`): matching takes one pass, whatever the input.
"""

import re
from typing import Final

from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import ErrorCode, Refusal

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELD: Final = _TOKEN + rb":[\t -~\x80-\xff]*+\r\n"

HEAD: Final = re.compile(
    rb"([A-Z]{1,32}+) (/[!\"$-~]*+|\*) HTTP/1\.([01])\r\n(?:" + _FIELD + rb")*+\r\n"
)
"""A whole head: method, target, minor version. A target has no `#` and no byte beyond ASCII."""

FIELD: Final = re.compile(_FIELD)
"""One header or trailer line with its CRLF."""

CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8}+)(?:;([\t -~\x80-\xff]*+))?\r\n")
"""The line in front of a chunk: its size in hex, and extensions, which are dropped."""

CHUNK_LINE_PART: Final = re.compile(rb"[0-9A-Fa-f]{1,8}+(?:;[\t -~\x80-\xff]*+)?\r?")
"""What the beginning of such a line looks like."""

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5}+)?")
# Seen in a part of a head, these make it wrong whatever follows.
_NEVER: Final = re.compile(rb"[^\t\r\n -~\x80-\xff]|\r[^\n]|(?<!\r)\n|\n[\t ]")
_METHOD: Final = re.compile(rb"[A-Z]{1,32}")


def bad_request(because: str) -> Refusal:
    """Return a 400."""
    return Refusal(ErrorCode.BAD_REQUEST, because)


def too_large(because: str) -> Refusal:
    """Return a 431."""
    return Refusal(ErrorCode.HEADERS_TOO_LARGE, because)


def is_host(value: bytes) -> bool:
    """Tell whether a Host value is a name or address with an optional port; no user, no list."""
    return _HOST.fullmatch(value) is not None


def problem_of_part(part: bytes | bytearray, seen: int, limits: Limits) -> Refusal | None:
    """Judge the beginning of a head that is not complete yet.

    `seen` bytes of it were judged before. What can never become a head is refused at once, so
    that a client which ends its lines with LF alone, or speaks TLS to a plain port, is told so
    and does not wait for the timeout.
    """
    if not seen and not part[:1].isalpha():
        return bad_request("a request begins with its method")
    found = _NEVER.search(part, max(0, seen - 2))
    if found is not None:
        return bad_request(_told(found.group()))
    size = len(part)
    line_end = limits.request_line_bytes_max + 2
    if size >= line_end and part.find(b"\r\n", 0, line_end) < 0:
        return line_too_long(limits)
    if size > limits.head_bytes_max:
        return head_too_large(limits)
    return None


def problem_of_head(head: bytes, limits: Limits) -> Refusal:
    """Say why a head that ends in an empty line does not match `HEAD`. Never on the good path."""
    line, _, fields = head.partition(b"\r\n")
    if len(line) > limits.request_line_bytes_max:
        return line_too_long(limits)
    if head[:2] == b"\r\n":
        return bad_request("an empty line stands in front of the request")
    found = _NEVER.search(head)
    if found is not None:
        return bad_request(_told(found.group()))
    problem = _problem_of_line(line)
    if problem is not None:
        return problem
    for field in fields.split(b"\r\n"):
        if field and FIELD.fullmatch(field + b"\r\n") is None:
            name = field.partition(b":")[0][:40].decode("latin-1")
            return bad_request(f"the header line that begins with {name!r} is not `name: value`")
    return bad_request("the request head is not valid HTTP/1.1")


def _problem_of_line(line: bytes) -> Refusal | None:
    parts = line.split(b" ")
    if _METHOD.fullmatch(parts[0]) is None:
        return bad_request("a method has 1 to 32 capital letters")
    if len(parts) != 3:
        return bad_request("a request line is `METHOD /target HTTP/1.1` with one space between")
    if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return bad_request("only HTTP/1.1 and HTTP/1.0 are spoken here")
    if parts[1][:1] not in (b"/", b"*"):
        return bad_request("a request target begins with '/'; this is not a proxy")
    if HEAD.match(line + b"\r\n\r\n") is None:
        return bad_request("a request target has visible ASCII characters only, and no '#'")
    return None


def line_too_long(limits: Limits) -> Refusal:
    """Return the 431 of a request line past its limit."""
    return too_large(f"the request line is longer than {limits.request_line_bytes_max} bytes")


def head_too_large(limits: Limits) -> Refusal:
    """Return the 431 of a head past its limit."""
    return too_large(f"the request head is larger than {limits.head_bytes_max} bytes")


def _told(found: bytes) -> str:
    if found == b"\n":
        return "a line ends with LF alone; HTTP ends lines with CR LF"
    if found[:1] == b"\r":
        return "a CR stands without its LF"
    if found[:1] == b"\n":
        return "a header line is folded onto the next"
    return f"the byte 0x{found[0]:02x} is not allowed in a request head"
