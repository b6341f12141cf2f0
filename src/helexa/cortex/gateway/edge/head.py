"""Reads one request head: the grammar, then llhttp, then what the headers mean together. Pure.

One reader serves all connections of a server, because a head is read in one synchronous call.
Each head gets a fresh llhttp parser: where a body begins and ends is decided in `body` alone, so
nothing that llhttp remembers of an earlier request can matter to a later one.
"""

from typing import Final

import httptools

from helexa.cortex.gateway.edge import grammar
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import Refusal

CHUNKED: Final = -1
"""`HeadReader.length` of a body that arrives in chunks."""

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
        "_limits",
        "_repeated",
        "expect",
        "fields",
        "keep_alive",
        "length",
        "method",
        "minor",
        "path",
        "query",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._repeated = b""
        self.method = ""
        self.path = ""
        """As sent, without the query; nothing is decoded."""
        self.query = ""
        self.fields: dict[bytes, bytes] = {}
        """By lower-case name; the caller keeps this very dict."""
        self.minor = 1
        self.keep_alive = True
        self.length = 0
        """Bytes of the body, or CHUNKED."""
        self.expect: bytes | None = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header from llhttp."""
        name = name.lower()
        fields = self.fields
        if name in fields:
            if name in _SINGLE:
                self._repeated = name
            fields[name] = b"%b, %b" % (fields[name], value)
        else:
            fields[name] = value

    def read(self, head: bytes) -> Refusal | None:
        """Read a head that ends with its empty line; return why it is refused, or None."""
        limits = self._limits
        matched = grammar.HEAD.fullmatch(head)
        if matched is None:
            return grammar.problem_of_head(head, limits)
        method, target, minor = matched.groups()
        if matched.end(2) + 9 > limits.request_line_bytes_max:
            return grammar.line_too_long(limits)
        if head.count(b"\n") - 2 > limits.headers_max:
            return grammar.too_large(f"the request has more than {limits.headers_max} headers")
        self._repeated = b""
        self.fields = {}
        try:
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            # An offer to speak something else, as Java's and curl's clients make for HTTP/2, is
            # declined by answering in HTTP/1.1 (RFC 9110 §7.8). The head was read to its end.
            pass
        except httptools.HttpParserError as error:
            return grammar.bad_request(f"the request head is not valid HTTP: {error}")
        if b" \r\n" in head or b"\t\r\n" in head:
            self.fields = {name: value.rstrip(b" \t") for name, value in self.fields.items()}
        self.method = _METHODS.get(method) or method.decode()
        path, _, self.query = target.decode().partition("?")
        self.path = path
        self.minor = 1 if minor == b"1" else 0
        return self._judge()

    def _judge(self) -> Refusal | None:
        """Decide what the headers say together: whose host, how long a body, and what after."""
        fields = self.fields
        if self._repeated:
            return grammar.bad_request(f"the header {self._repeated.decode()} is given twice")
        if self.path == "*" and self.method != "OPTIONS":
            return grammar.bad_request("only OPTIONS has the target '*'")
        host = fields.get(b"host")
        if host is None:
            if self.minor:
                return grammar.bad_request("HTTP/1.1 needs one Host header")
        elif not grammar.is_host(host):
            return grammar.bad_request("the Host header is not a name or address with a port")
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
        elif grammar.is_length(length):
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
