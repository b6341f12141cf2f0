"""Requests, good, bad and hostile, as bytes, with what a strict HTTP/1.1 server makes of them.

`cases(target, body)` fits any server: `target` is a route that takes a POST of `body`. A case
says how many requests reach the application (`forwarded`), which status each answer may have, and
whether the connection must end. Whatever the trick, there is one answer per request, and nothing
that follows a refused request is read as a request.
"""

from collections.abc import Iterator
from dataclasses import dataclass

BAD = frozenset((400,))
LARGE = frozenset((431,))
DONE = frozenset(range(200, 500)) - frozenset((400, 408, 413, 417, 431))
"""Of a request that was understood; the application decides which."""


@dataclass(frozen=True)
class Case:
    name: str
    pieces: tuple[bytes, ...]
    statuses: tuple[frozenset[int], ...]
    """One set for each answer, in order; 100 Continue is not counted."""
    forwarded: int = 0
    closes: bool = True
    """The server ends the connection after the last answer."""
    head_only: tuple[int, ...] = ()
    """Places of answers that have no body because they answer HEAD."""


@dataclass(frozen=True)
class Shop:
    """Where the requests go."""

    target: bytes
    body: bytes
    headers: bytes = b""

    def post(self, extra: bytes = b"", *, host: bytes = b"Host: helexa\r\n") -> bytes:
        """Return a POST without its length and without the empty line."""
        return b"POST %b HTTP/1.1\r\n%b%b%b" % (self.target, host, self.headers, extra)

    def whole(self, extra: bytes = b"") -> bytes:
        """Return a complete, valid POST."""
        length = b"Content-Length: %d\r\n\r\n" % len(self.body)
        return self.post(extra) + length + self.body

    def chunked(self, framed: bytes, extra: bytes = b"") -> bytes:
        """Return a POST with a chunked body given in its framing."""
        return self.post(b"Transfer-Encoding: chunked\r\n" + extra) + b"\r\n" + framed

    def frame(self, size: int = 0) -> bytes:
        """Return the body in one chunk, or in chunks of `size`."""
        size = size or len(self.body)
        parts = [self.body[at : at + size] for at in range(0, len(self.body), size)]
        return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def cases(target: bytes = b"/echo", body: bytes = b'{"a":1}', headers: bytes = b"") -> list[Case]:
    """Return all cases. `headers` (whole lines) are added to each request that is valid."""
    shop = Shop(target, body, headers)
    found = [
        *_good(shop),
        *_request_lines(shop),
        *_header_lines(shop),
        *_hosts(shop),
        *_lengths(shop),
        *_codings(shop),
        *_chunks(shop),
        *_limits(shop),
        *_expectations(shop),
    ]
    names = [case.name for case in found]
    assert len(names) == len(set(names)), "two cases have one name"
    return found


def _refused(name: str, *pieces: bytes, status: frozenset[int] = BAD) -> Case:
    return Case(name, pieces, (status,))


def _taken(name: str, *pieces: bytes, count: int = 1, closes: bool = False) -> Case:
    return Case(name, pieces, (DONE,) * count, count, closes)


def _good(shop: Shop) -> Iterator[Case]:
    whole, get = shop.whole(), b"GET %b HTTP/1.1\r\nHost: a\r\n" % shop.target
    body = b"%d\r\n\r\n" % len(shop.body) + shop.body
    yield _taken("plain POST", whole)
    yield _taken("two in one write", whole + whole, count=2)
    yield _taken("forty in one write", whole * 40, count=40)
    yield _taken("a GET in the middle", whole + get + b"\r\n" + whole, count=3)
    yield _taken("byte by byte", *(whole[at : at + 1] for at in range(len(whole))))
    yield _taken("head and body apart", shop.post(b"Content-Length: ") + body[:3], body[3:])
    yield _taken("close asked for", shop.whole(b"Connection: close\r\n"), closes=True)
    yield _taken("close among others", shop.whole(b"Connection: x, CLOSE\r\n"), closes=True)
    yield _taken(
        "close asked for, one more", shop.whole(b"Connection: close\r\n") + whole, closes=True
    )
    yield _taken("keep-alive asked for", shop.whole(b"Connection: Keep-Alive\r\n"))
    yield _taken("HTTP/1.0", whole.replace(b"HTTP/1.1", b"HTTP/1.0"), closes=True)
    yield _taken(
        "HTTP/1.0 without Host",
        whole.replace(b"HTTP/1.1\r\nHost: helexa", b"HTTP/1.0"),
        closes=True,
    )
    yield Case("HEAD", (b"HEAD" + get[3:] + b"\r\n",), (DONE,), 1, closes=False, head_only=(0,))
    yield _taken("OPTIONS", b"OPTIONS" + get[3:] + b"\r\n")
    yield _taken("DELETE", b"DELETE" + get[3:] + b"\r\n")
    yield _taken("OPTIONS of the server", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    yield _taken("header names in capitals", shop.post() + b"CONTENT-LENGTH: " + body)
    yield _taken("no space after the colon", shop.post() + b"Content-Length:" + body)
    yield _taken("spaces around a value", shop.whole(b"A: \t b \t\r\n"))
    yield _taken("an empty value", shop.whole(b"A:\r\n"))
    yield _taken("a colon in a value", shop.whole(b"A: b:c:d\r\n"))
    yield _taken("a value beyond ASCII", shop.whole("A: é\r\n".encode()))
    yield _taken("a value that is not UTF-8", shop.whole(b"A: \xff\xfe\r\n"))
    yield _taken("a header twice that may be", shop.whole(b"Accept: a\r\nAccept: b\r\n"))
    yield _taken("every token character in a name", shop.whole(b"!#$%&'*+-.^_`|~09AZaz: v\r\n"))
    yield _taken("a length with zeros in front", shop.post() + b"Content-Length: 000" + body)
    yield _taken("a body of no bytes", get + b"Content-Length: 0\r\n\r\n")
    yield _taken("an offer of h2c", shop.whole(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"))
    yield _taken(
        "an offer of websocket", get + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    yield _taken("a query", get.replace(shop.target, shop.target + b"?a=b&c=%20d") + b"\r\n")
    yield _taken("odd letters in a query", get.replace(shop.target, b'/?[]{}|\\^"<>`') + b"\r\n")


def _request_lines(shop: Shop) -> Iterator[Case]:
    after = b"\r\nHost: a\r\n\r\n" + shop.whole()
    lines = {
        "no version": b"GET /",
        "no version, HTTP/0.9 style with a space": b"GET / ",
        "two spaces before the target": b"GET  / HTTP/1.1",
        "two spaces before the version": b"GET /  HTTP/1.1",
        "a tab between": b"GET\t/ HTTP/1.1",
        "a space in front": b" GET / HTTP/1.1",
        "a space behind": b"GET / HTTP/1.1 ",
        "four words": b"GET / a HTTP/1.1",
        "no target": b"GET HTTP/1.1",
        "a lower-case method": b"get / HTTP/1.1",
        "a method of mixed case": b"Get / HTTP/1.1",
        "an unknown method": b"FETCH / HTTP/1.1",
        "a method with a NUL": b"G\x00T / HTTP/1.1",
        "a method with a digit": b"GET1 / HTTP/1.1",
        "a method with brackets": b"GET() / HTTP/1.1",
        "a huge method": b"A" * 300 + b" / HTTP/1.1",
        "CONNECT": b"CONNECT a:443 HTTP/1.1",
        "CONNECT with a path": b"CONNECT * HTTP/1.1",
        "the HTTP/2 preface": b"PRI * HTTP/2.0",
        "PRI in HTTP/1.1": b"PRI * HTTP/1.1",
        "HTTP/2.0": b"GET / HTTP/2.0",
        "HTTP/1.2": b"GET / HTTP/1.2",
        "HTTP/0.9": b"GET / HTTP/0.9",
        "HTTP/1": b"GET / HTTP/1",
        "HTTP/1.10": b"GET / HTTP/1.10",
        "HTTP/1.1x": b"GET / HTTP/1.1x",
        "HTTP/11": b"GET / HTTP/11",
        "http/1.1": b"GET / http/1.1",
        "HTP": b"GET / HTP/1.1",
        "RTSP": b"GET / RTSP/1.0",
        "ICE": b"SOURCE / ICE/1.0",
        "an absolute target": b"GET http://a/ HTTP/1.1",
        "an absolute https target": b"GET https://a/x HTTP/1.1",
        "an absolute target with a user": b"GET http://u:p@a/ HTTP/1.1",
        "an authority": b"GET a:80 HTTP/1.1",
        "an asterisk for GET": b"GET * HTTP/1.1",
        "an asterisk with more": b"OPTIONS *x HTTP/1.1",
        "a fragment": b"GET /a#b HTTP/1.1",
        "a target without slash": b"GET a HTTP/1.1",
        "a target that begins with ?": b"GET ?a HTTP/1.1",
        "a path beyond ASCII": "GET /é HTTP/1.1".encode(),
        "a path that is not UTF-8": b"GET /\xff HTTP/1.1",
        "a NUL in the path": b"GET /\x00 HTTP/1.1",
        "a control in the path": b"GET /\x07 HTTP/1.1",
        "a DEL in the path": b"GET /\x7f HTTP/1.1",
        "a CR in the path": b"GET /\ra HTTP/1.1",
        "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "nothing but a number": b"123",
        "JSON": b'{"model": "a"}',
    }
    for name, line in lines.items():
        yield _refused(f"request line: {name}", line + after)
    yield _refused("an empty line in front", b"\r\n" + shop.whole())
    yield _refused("two empty lines in front", b"\r\n\r\n" + shop.whole())
    yield _refused("a bare LF in front", b"\n" + shop.whole())
    yield _refused("LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n")
    yield _refused("LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n" + shop.whole())
    yield _refused("CR alone after the request line", b"GET / HTTP/1.1\rHost: a\r\n\r\n")
    yield _refused("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n")


def _header_lines(shop: Shop) -> Iterator[Case]:
    def around(line: bytes) -> bytes:
        return shop.post() + line + b"\r\n" + shop.whole()

    for byte in [*range(0x09), *range(0x0B, 0x0D), *range(0x0E, 0x20), 0x7F]:
        yield _refused(f"value with 0x{byte:02x}", around(b"A: b%cc\r\n" % byte))
    for letter in b'"(),/;<=>?@[\\]{} \t\x00\x01\x7f\x80\xff':
        yield _refused(f"name with 0x{letter:02x}", around(b"A%cB: c\r\n" % letter))
    lines = {
        "space before the colon": b"A : b\r\n",
        "tab before the colon": b"A\t: b\r\n",
        "space before the colon of a length": b"Content-Length : 5\r\n",
        "space before the colon of a coding": b"Transfer-Encoding : chunked\r\n",
        "no colon": b"A\r\n",
        "no name": b": b\r\n",
        "folded with a space": b"A: b\r\n c\r\n",
        "folded with a tab": b"A: b\r\n\tc\r\n",
        "a folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
        "a folded length": b"Content-Length:\r\n 5\r\n",
        "a space in front": b" A: b\r\n",
        "LF at its end": b"A: b\n",
        "LF at its end, a length next": b"A: b\nContent-Length: 5\r\n",
        "CR inside": b"A: b\rc\r\n",
        "CR inside, a length behind": b"A: b\rContent-Length: 5\r\n",
        "CR CR LF": b"A: b\r\r\n",
        "LF CR": b"A: b\n\r",
        "a request in a value": b"A: b\n\nGET / HTTP/1.1\nHost: a\n\n\r\n",
        "authorization twice": b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        "a content type twice": b"Content-Type: a/b\r\ncontent-type: a/b\r\n",
        "an expectation twice": b"Expect: 100-continue\r\nExpect: 100-continue\r\n",
    }
    for name, line in lines.items():
        yield _refused(f"header line: {name}", around(line))


def _hosts(shop: Shop) -> Iterator[Case]:
    length = b"Content-Length: %d\r\n\r\n" % len(shop.body) + shop.body

    def request(host: bytes) -> bytes:
        return shop.post(host=host) + length + shop.whole()

    for name, value in {
        "empty": b"",
        "a user": b"u@a",
        "a user and password": b"u:p@a",
        "a path": b"a/b",
        "a query": b"a?b",
        "a fragment": b"a#b",
        "a list": b"a,b",
        "two words": b"a b",
        "a port of letters": b"a:b",
        "a port too long": b"a:123456",
        "two ports": b"a:1:2",
        "a port without number": b"a:",
        "beyond ASCII": b"\xc3\xa9",
        "a backslash": b"a\\b",
        "an open bracket": b"[::1",
        "percent": b"a%00b",
    }.items():
        yield _refused(f"Host: {name}", request(b"Host: %b\r\n" % value))
    yield _refused("Host: none", request(b""))
    yield _refused("Host: two", request(b"Host: a\r\nHost: b\r\n"))
    yield _refused("Host: two the same", request(b"Host: a\r\nHost: a\r\n"))
    yield _refused("Host: two in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n")
    yield _refused("Host: space before its colon", request(b"Host : a\r\n"))
    for value in (b"127.0.0.1:8080", b"[::1]:8080", b"[::1]", b"a-b.example_c:1", b"A.B"):
        request_ = shop.post(host=b"Host: %b\r\n" % value) + length
        yield _taken(f"Host: {value.decode()}", request_)


def _lengths(shop: Shop) -> Iterator[Case]:
    def request(lines: bytes) -> bytes:
        return shop.post() + lines + b"\r\n\r\n" + shop.body + shop.whole()

    right = b"%d" % len(shop.body)
    for name, value in {
        "plus": b"+" + right,
        "minus": b"-" + right,
        "minus one": b"-1",
        "hexadecimal": b"0x1",
        "hexadecimal without 0x": b"a",
        "octal prefix": b"0o7",
        "empty": b"",
        "spaces only": b"   ",
        "two numbers": b"1 1",
        "a list": right + b", " + right,
        "a list that differs": right + b", 0",
        "a fraction": b"1.0",
        "an exponent": b"1e1",
        "underscore": b"1_0",
        "a letter behind": right + b"a",
        "quotes": b'"' + right + b'"',
        "a semicolon": right + b";a",
        "an Arabic digit": "\u0661".encode(),
        "superscript two": b"\xb2",
        "beyond 64 bits": b"18446744073709551617",
        "a hundred digits": b"9" * 100,
        "a NUL": right + b"\x00",
        "a vertical tab in front": b"\x0b" + right,
    }.items():
        yield _refused(f"length: {name}", request(b"Content-Length: " + value))
    length = b"Content-Length: " + right
    yield _refused("length: twice the same", request(length + b"\r\n" + length))
    yield _refused("length: twice, small first", request(b"Content-Length: 0\r\n" + length))
    yield _refused("length: twice, small last", request(length + b"\r\nContent-Length: 0"))
    yield _refused("length: twice, other case", request(length + b"\r\n" + length.lower()))
    yield _refused("length: twice with HTTP/1.0", request(length + b"\r\n" + length))
    yield Case("length: longer than the body", (request(length),), (DONE, DONE), 2, closes=False)


def _codings(shop: Shop) -> Iterator[Case]:
    framed = shop.frame() + b"0\r\n\r\n"
    length = b"Content-Length: %d\r\n" % len(shop.body)
    coding = b"Transfer-Encoding: chunked\r\n"

    def request(lines: bytes) -> bytes:
        return shop.post() + lines + b"\r\n" + framed + shop.whole()

    yield _refused("CL.TE", request(length + coding))
    yield _refused("TE.CL", request(coding + length))
    yield _refused("CL.TE with length 0", request(b"Content-Length: 0\r\n" + coding))
    yield _refused("CL.TE, a request in the body", request(b"Content-Length: 6\r\n" + coding))
    yield _refused("CL.TE in lower case", request((length + coding).lower()))
    yield _refused("TE.TE", request(coding + coding))
    yield _refused("TE.TE, the last unknown", request(coding + b"Transfer-Encoding: x\r\n"))
    yield _refused("TE.TE, the first unknown", request(b"Transfer-Encoding: x\r\n" + coding))
    for value in (
        b"gzip", b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunked,chunked",
        b"identity", b"identity, chunked", b"chunked, identity", b"xchunked", b"chunkedx",
        b"chunk", b'"chunked"', b"'chunked'", b"chunked;a=b", b"chunked ;a", b"chunked,",
        b",chunked", b", chunked", b"chunked\x0b", b"\x0bchunked", b"chunked\x00", b"\xa0chunked",
        b"chunked\xa0", b"chun ked", b"", b"deflate", b"trailers", b"chunked\\", b"CHUNKED, x",
    ):  # fmt: skip
        line = b"Transfer-Encoding: %b\r\n" % value
        yield _refused(f"coding: {value!r}", request(line))
    yield _refused("coding: in HTTP/1.0", request(coding).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
    for name, line in {
        "space before the colon": b"Transfer-Encoding : chunked\r\n",
        "folded": b"Transfer-Encoding: \r\n chunked\r\n",
        "LF before it": b"A: b\nTransfer-Encoding: chunked\r\n",
        "CR before it": b"A: b\rTransfer-Encoding: chunked\r\n",
        "a NUL in its name": b"Transfer\x00-Encoding: chunked\r\n",
    }.items():
        yield _refused(f"coding: {name}", request(length + line))
    # A name that only looks like the header is some other header; the length counts.
    yield _taken("coding: underscore in its name", shop.whole(b"Transfer_Encoding: chunked\r\n"))
    yield _taken("coding: CHUNKED", shop.chunked(framed).replace(b": chunked", b": CHUNKED"))
    yield _taken(
        "coding: spaces around", shop.chunked(framed).replace(b": chunked", b":  chunked ")
    )


def _chunks(shop: Shop) -> Iterator[Case]:
    body, one, rest = shop.body, shop.frame(), shop.whole()
    size = b"%x" % len(body)
    bad = {
        "plus": b"+" + size, "minus": b"-" + size, "0x": b"0x" + size,
        "space in front": b" " + size,
        "space behind": size + b" ", "tab behind": size + b"\t", "empty": b"", "letters": b"xyz",
        "nine digits": b"000000000" + size, "sixteen digits": b"f" * 16,
        "seventeen digits": b"1" + b"0" * 16, "underscore": b"0_" + size, "a comma": size + b",1",
        "space before an extension": size + b" ;a=b", "CR in an extension": size + b";a\rb",
        "NUL in an extension": size + b";a\x00b", "LF in an extension": size + b";a\nb",
        "a long extension": size + b";" + b"a" * 300, "an Arabic digit": "\u0661".encode(),
        "a minus zero": b"-0", "a fraction": size + b".0",
    }  # fmt: skip
    for name, line in bad.items():
        framed = line + b"\r\n" + body + b"\r\n0\r\n\r\n"
        yield _refused(f"chunk size: {name}", shop.chunked(framed) + rest)
    for name, framed in {
        "LF after the size": size + b"\n" + body + b"\r\n0\r\n\r\n",
        "CR after the size": size + b"\r" + body + b"\r\n0\r\n\r\n",
        "LF after the data": size + b"\r\n" + body + b"\n0\r\n\r\n",
        "nothing after the data": size + b"\r\n" + body + b"0\r\n\r\n",
        "data longer than said": size + b"\r\n" + body + b"..\r\n0\r\n\r\n",
        "data shorter than said": b"%x\r\n" % (len(body) + 1) + body + b"\r\n0\r\n\r\n",
        "LF after the last size": one + b"0\n\r\n",
        "LF at the very end": one + b"0\r\n\n",
        "an empty line in front": b"\r\n" + one + b"0\r\n\r\n",
        "a trailer without colon": one + b"0\r\nA\r\n\r\n",
        "a trailer with a space before its colon": one + b"0\r\nA : b\r\n\r\n",
        "a folded trailer": one + b"0\r\nA: b\r\n c\r\n\r\n",
        "a trailer with LF": one + b"0\r\nA: b\n\r\n",
        "a trailer with NUL": one + b"0\r\nA: \x00\r\n\r\n",
        "a request for a trailer": one + b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    }.items():
        yield _refused(f"chunk: {name}", shop.chunked(framed) + rest)
    many = (b";" + b"a" * 200).join([b"1\r\n.\r\n"] * 1)
    flood = b"".join(b"1;%b\r\n.\r\n" % (b"a" * 200) for _ in range(200)) + many
    yield _refused("chunk: extensions without end", shop.chunked(flood) + rest)
    tiny = b"1\r\n.\r\n" * 5000
    yield _refused("chunk: thousands of one byte", shop.chunked(tiny) + rest)
    trailers = one + b"0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n"
    yield _refused("chunk: trailers without end", shop.chunked(trailers) + rest, status=LARGE)
    long = one + b"0\r\nA: " + b"b" * 20_000 + b"\r\n\r\n"
    yield _refused("chunk: a trailer without end", shop.chunked(long) + rest)
    last = b"0\r\n\r\n"
    yield _taken("chunk: one", shop.chunked(one + last))
    yield _taken("chunk: one and another request", shop.chunked(one + last) + rest, count=2)
    yield _taken("chunk: of one byte each", shop.chunked(shop.frame(1) + last))
    yield _taken(
        "chunk: sizes in capitals", shop.chunked(one.upper()[: len(size)] + one[len(size) :] + last)
    )
    yield _taken("chunk: zeros in front of a size", shop.chunked(b"000" + one + b"000\r\n\r\n"))
    yield _taken("chunk: an extension", shop.chunked(size + b";a=b" + one[len(size) :] + last))
    yield _taken("chunk: an extension on the last", shop.chunked(one + b"0;a\r\n\r\n"))
    yield _taken("chunk: a trailer", shop.chunked(one + b"0\r\nA: b\r\n\r\n"))
    yield _taken(
        "chunk: a trailer that would be framing",
        shop.chunked(one + b"0\r\nContent-Length: 9\r\nHost: b\r\n\r\n") + rest,
        count=2,
    )
    yield _taken(
        "chunk: cut anywhere", *(shop.chunked(one + last)[at : at + 3] for at in range(0, 600, 3))
    )


def _limits(shop: Shop) -> Iterator[Case]:
    rest = shop.whole()

    def with_headers(lines: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (shop.target, lines) + rest

    yield _refused("101 headers", with_headers(b"A: b\r\n" * 100), status=LARGE)
    yield _refused("101 headers of one letter", with_headers(b"A:\r\n" * 100), status=LARGE)
    yield _taken("100 headers", with_headers(b"A: b\r\n" * 99)[: -len(rest)])
    yield _refused(
        "a header of 65 KiB", with_headers(b"A: " + b"b" * 66_560 + b"\r\n"), status=LARGE
    )
    yield _refused(
        "a header that does not end", with_headers(b"A: " + b"b" * 200_000)[:-200], status=LARGE
    )
    yield _refused("a name of 65 KiB", with_headers(b"a" * 66_560 + b": b\r\n"), status=LARGE)
    yield _taken("a header of 32 KiB", with_headers(b"A: " + b"b" * 32_768 + b"\r\n")[: -len(rest)])
    line = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
    yield _refused("a target of 9 KiB", line % (b"a" * 9216) + rest, status=LARGE)
    yield _refused("a target that does not end", b"GET /" + b"a" * 70_000, status=LARGE)
    yield _refused("a method that does not end", b"A" * 70_000, status=LARGE)
    yield _refused(
        "a length past the limit",
        shop.post(b"Content-Length: 9999999999\r\n") + b"\r\n" + shop.body,
        status=frozenset((413,)),
    )
    yield _refused(
        "a chunk past the limit", shop.chunked(b"ffffffff\r\n"), status=frozenset((413,))
    )


def _expectations(shop: Shop) -> Iterator[Case]:
    failed = frozenset((417,))
    length = b"Content-Length: %d\r\n\r\n" % len(shop.body)
    for value in (b"100-continued", b"200-ok", b"100-continue, x", b"", b"a=b"):
        line = b"Expect: %b\r\n" % value
        name = f"expectation {value.decode()!r}"
        yield _refused(name, shop.whole(line), shop.whole(), status=failed)
        yield _refused(f"{name} without its body", shop.post(line) + length, status=failed)
    yield _taken("100-continue with its body", shop.whole(b"Expect: 100-continue\r\n"))
    yield _taken("100-continue in capitals", shop.whole(b"Expect: 100-Continue\r\n"))
    yield _taken(
        "100-continue, the body later", shop.post(b"Expect: 100-continue\r\n") + length, shop.body
    )
