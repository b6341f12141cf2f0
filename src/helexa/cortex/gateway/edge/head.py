"""Reads one request head: the grammar, then llhttp, then what the headers mean together. Pure.

One reader serves all connections of a server, because a head is read in one synchronous call.
Each head gets a fresh llhttp parser: where a body begins and ends is decided in `body` alone, so
nothing that llhttp remembers of an earlier request can matter to a later one.
"""

from collections.abc import Callable
from typing import Final

import httptools

from helexa.cortex.gateway.edge import grammar
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import Refusal

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


class HeadReader:
    """Takes whole heads, one at a time; what it found is in its attributes until the next."""

    __slots__ = (
        "_good_host",
        "_limits",
        "expect",
        "fields",
        "keep_alive",
        "length",
        "method",
        "minor",
        "on_header",
        "path",
        "query",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._good_host: bytes | None = None
        """The last Host found valid: nearly all requests of a server name the same."""
        self.fields: dict[bytes, bytes] = {}
        """By lower-case name; the caller keeps this very dict."""
        self.on_header: Callable[[bytes, bytes], None] = self.fields.__setitem__
        """Taken by llhttp."""
        self.forget()

    def forget(self) -> None:
        """Be as if an empty head had been read: the one of a request that has none."""
        self.method = ""
        self.path = ""
        """As sent, without the query; nothing is decoded."""
        self.query = ""
        self.fields = {}
        self.minor = 1
        self.keep_alive = True
        self.length = 0
        """Bytes of the body, or CHUNKED."""
        self.expect: bytes | None = None

    def read(self, head: bytes) -> Refusal | None:
        """Read a head that ends with its empty line; return why it is refused, or None."""
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
        self.fields = fields
        self.method = _METHODS.get(method) or method.decode()
        self.path, _, self.query = target.decode().partition("?")
        self.minor = 1 if minor == b"1" else 0
        return self._judge()

    def _judge(self) -> Refusal | None:
        """Decide what the headers say together: whose host, how long a body, and what after."""
        fields = self.fields
        if self.path == "*" and self.method != "OPTIONS":
            return grammar.bad_request("only OPTIONS has the target '*'")
        host = fields.get(b"host")
        if host is None:
            if self.minor:
                return grammar.bad_request("HTTP/1.1 needs one Host header")
        elif host != self._good_host:
            if not grammar.is_host(host):
                return grammar.bad_request("the Host header is not a name or address with a port")
            self._good_host = host
        connection = fields.get(b"connection")
        self.keep_alive = self.minor == 1 and (connection is None or not _says_close(connection))
        self.expect = fields.get(b"expect") if self.minor else None
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            self.length = CHUNKED
            return self._problem_of_coding(coding, length)
        if length is None:
            self.length = 0
        elif length.isdigit() and len(length) <= LENGTH_DIGITS_MAX:
            self.length = int(length)
        else:
            return grammar.bad_request("Content-Length is not a number of bytes")
        return None

    def _problem_of_coding(self, coding: bytes, length: bytes | None) -> Refusal | None:
        if length is not None:
            return grammar.bad_request("Content-Length and Transfer-Encoding exclude each other")
        if not self.minor:
            return grammar.bad_request("HTTP/1.0 has no Transfer-Encoding")
        if coding.lower() != b"chunked":
            return grammar.bad_request("the only Transfer-Encoding taken is 'chunked'")
        return None


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
