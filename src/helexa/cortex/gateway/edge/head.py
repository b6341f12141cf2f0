"""Reads one request head: the grammar, then llhttp, then what the headers mean together. Pure.

One reader serves all connections of a server, because a head is read in one synchronous call.
Each head gets a fresh llhttp parser: where a body begins and ends is decided in `body` alone, so
nothing that llhttp remembers of an earlier request can matter to a later one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httptools

from helexa.cortex.gateway.edge import grammar
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import Refusal
from helexa.protocol.ids import is_request_id

CHUNKED: Final = -1
"""`HeadReader.length` of a body that arrives in chunks."""

LENGTH_DIGITS_MAX: Final = 19

_SINGLE: Final = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"x-api-key",
        b"content-type",
        b"content-encoding",
        b"expect",
    )
)
"""Headers that mean something else to whoever takes the first than to whoever takes the last."""

_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}


@dataclass(slots=True)
class Head:
    """What one request head says. Shared by the requests of a connection that repeat it.

    `path` and `query` are as sent, nothing is decoded. `fields` are by lower-case name, without
    those that frame the body: Content-Length and Transfer-Encoding are the edge's own affair.
    """

    method: str = ""
    path: str = ""
    query: str = ""
    fields: dict[bytes, bytes] = field(default_factory=dict)
    minor: int = 1
    keep_alive: bool = True
    length: int = 0
    """Bytes of the body, or CHUNKED; the one thing that differs between requests that share a head,
    and looked at only as each begins."""
    expect: bytes | None = None
    request_id: str = ""
    """The id that the caller gave its request, where that is one; else empty."""


NO_HEAD: Final = Head()
"""Of a request whose head could not be read."""


class HeadReader:
    """Takes whole heads, one at a time."""

    __slots__ = ("_good_host", "_limits", "on_header")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._good_host: bytes | None = None
        """The last Host found valid: nearly all requests of a server name the same."""
        unread: dict[bytes, bytes] = {}
        self.on_header: Callable[[bytes, bytes], None] = unread.__setitem__
        """Taken by llhttp."""

    def read(self, head: bytes) -> Head | Refusal:
        """Read a head that ends with its empty line; return what it says, or why it is refused."""
        limits = self._limits
        matched = grammar.HEAD.fullmatch(head)
        if matched is None:
            return grammar.problem_of_head(head, limits)
        method, target, minor = matched.groups()
        if matched.end(2) + 9 > limits.request_line_bytes_max:
            return grammar.line_too_long(limits)
        lines = head.count(b"\n") - 2
        if lines > limits.headers_max:
            return grammar.too_large(f"the request has more than {limits.headers_max} headers")
        seen: dict[bytes, bytes] = {}
        # llhttp calls the dict's own method: no Python frame per header. Repeated names are found
        # by count and read again, which is rare.
        self.on_header = seen.__setitem__
        try:
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else, as Java's and curl's clients make for HTTP/2, is
            # declined by answering in HTTP/1.1 (RFC 9110 §7.8). The head was read to its end.
            pass
        except httptools.HttpParserError as error:
            return grammar.bad_request(f"the request head is not valid HTTP: {error}")
        # llhttp leaves the spaces behind a value; the grammar lets no other white space through.
        fields = {name.lower(): value.strip() for name, value in seen.items()}
        if len(fields) != lines:
            repeated = _join_repeated(head, fields)
            if repeated is not None:
                return grammar.bad_request(f"the header {repeated.decode()} is given twice")
        path, _, query = target.decode().partition("?")
        return self._judge(
            Head(_METHODS.get(method) or method.decode(), path, query, fields, int(minor == b"1"))
        )

    def _judge(self, head: Head) -> Head | Refusal:
        """Decide what the headers say together: whose host, how long a body, and what after."""
        fields = head.fields
        if head.path == "*" and head.method != "OPTIONS":
            return grammar.bad_request("only OPTIONS has the target '*'")
        host = fields.get(b"host")
        if host is None:
            if head.minor:
                return grammar.bad_request("HTTP/1.1 needs one Host header")
        elif host != self._good_host:
            if not grammar.is_host(host):
                return grammar.bad_request("the Host header is not a name or address with a port")
            self._good_host = host
        connection = fields.get(b"connection")
        head.keep_alive = head.minor == 1 and (connection is None or not _says_close(connection))
        head.expect = fields.get(b"expect") if head.minor else None
        head.request_id = _caller_id(fields.get(b"x-request-id"))
        length = fields.pop(b"content-length", None)
        coding = fields.pop(b"transfer-encoding", None)
        if coding is not None:
            head.length = CHUNKED
            return _problem_of_coding(head, coding, length) or head
        if length is None:
            return head
        if not length.isdigit() or len(length) > LENGTH_DIGITS_MAX:
            return grammar.bad_request("Content-Length is not a number of bytes")
        head.length = int(length)
        return head


def _problem_of_coding(head: Head, coding: bytes, length: bytes | None) -> Refusal | None:
    if length is not None:
        return grammar.bad_request("Content-Length and Transfer-Encoding exclude each other")
    if not head.minor:
        return grammar.bad_request("HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != b"chunked":
        return grammar.bad_request("the only Transfer-Encoding taken is 'chunked'")
    return None


def _caller_id(value: bytes | None) -> str:
    text = value.decode("latin-1") if value is not None else ""
    return text if text and is_request_id(text) else ""


def _says_close(connection: bytes) -> bool:
    if connection in (b"keep-alive", b"Keep-Alive"):
        return False
    return any(option.strip() == b"close" for option in connection.lower().split(b","))


def _join_repeated(head: bytes, fields: dict[bytes, bytes]) -> bytes | None:
    """Join the values of repeated headers in `fields`; return a name that must not be repeated."""
    joined: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name not in joined:
            joined[name] = value
        elif name in _SINGLE:
            return name
        else:
            joined[name] = b"%b, %b" % (joined[name], value)
    fields.update(joined)
    return None
