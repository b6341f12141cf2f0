"""One request and its one answer.

    waiting ── respond ──────────────► done
       └────── start ──► streaming ── finish ──► done        abort: from either, to done

A step that is not drawn here raises `AnswerStateError`: whatever a handler does, a request never
has two answers, and none is cut short without `abort`. Once the client is gone the steps are
still checked but send nothing.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from helexa.cortex.gateway.edge import response
from helexa.cortex.gateway.edge.head import Head
from helexa.util.errors import HelexaError

_WAITING, _STREAMING, _DONE = range(3)
_STATUS_LINES: Final = response.STATUS_LINES
_NAMES: Final = ("not answered yet", "being streamed", "complete")

JOINED_BYTES_MAX: Final = 16 * 1024
"""Up to here head, framing and data are joined by copying; past it they are written in turn, which
the event loop gathers into one system call."""


class AnswerStateError(HelexaError):
    """A handler answered a request twice, or streamed one that was not started: a bug of ours."""


class Transport(Protocol):
    """What an exchange needs of an asyncio transport."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    def get_write_buffer_size(self) -> int:
        """Bytes queued and not sent."""
        ...


class Channel(Protocol):
    """The connection under an exchange."""

    write_paused: bool
    peer: str
    secure: bool

    @property
    def transport(self) -> Transport:
        """Where bytes go out."""
        ...

    def answer_prefix(self) -> bytes:
        """Header lines that belong to the connection: the date, and whether it will close."""
        ...

    def answered(self) -> None:
        """Take note that the answer is complete."""
        ...

    def cut(self, *, flush: bool) -> None:
        """End the connection so that the answer cannot be taken for a whole one."""
        ...


class Exchange:
    """A request, whole, and the way to answer it.

    `path` and `query` are as sent (ASCII, nothing decoded). `headers` have lower-case names;
    repeated ones are joined by ", "; those that frame the body are the edge's and left out. `body`
    is empty until the handler is called. `context` and
    `judged` are for whoever admits and handles. The edge never touches `context`, and brings
    `judged` back with the next request of the connection that has the same head (but for the
    number in Content-Length).
    """

    __slots__ = (
        "_channel",
        "_chunked",
        "_silent",
        "_state",
        "body",
        "context",
        "gone",
        "headers",
        "judged",
        "method",
        "on_gone",
        "on_resume",
        "path",
        "query",
        "request_id",
    )

    def __init__(self, channel: Channel, head: Head, request_id: str) -> None:
        self._channel = channel
        self._state = _WAITING
        self._chunked = head.minor == 1
        self._silent = False
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers: Mapping[bytes, bytes] = head.fields
        self.request_id = request_id
        self.body = b""
        self.context: object = None
        self.judged: object = None
        self.gone = False
        """The client has left; nobody will read an answer."""
        self.on_gone: Callable[[], None] | None = None
        """Called once when the client leaves before its answer is complete."""
        self.on_resume: Callable[[], None] | None = None
        """Called when `paused` becomes false again."""

    @property
    def paused(self) -> bool:
        """Whether the client takes data slower than it is written: hold back until `on_resume`."""
        return self._channel.write_paused and not self.gone

    def write_backlog(self) -> int:
        """Bytes written and still waiting in this process."""
        return 0 if self.gone else self._channel.transport.get_write_buffer_size()

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer completely. `headers` are whole lines, `b"content-type: text/plain\\r\\n"`.

        Content-Length, Date and X-Request-Id are added. A HEAD request is told the length and
        sent no body.
        """
        if self._state != _WAITING:
            raise self._wrong("respond")
        self._state = _DONE
        if self.gone:
            return
        channel = self._channel
        size = len(body)
        if size > JOINED_BYTES_MAX or self.method == "HEAD" or status in response.BODILESS:
            self._respond_apart(status, headers, body)
        else:
            channel.transport.write(
                b"%b%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b"
                % (
                    _STATUS_LINES.get(status) or response.status_line(status),
                    channel.answer_prefix(),
                    self.request_id.encode(),
                    size,
                    headers,
                    body,
                )
            )
        channel.answered()

    def _respond_apart(self, status: int, headers: bytes, body: bytes) -> None:
        """Send an answer whose body is large, or is only told of, or must not be."""
        bodiless = status in response.BODILESS
        length = b"" if bodiless else b"content-length: %d\r\n" % len(body)
        transport = self._channel.transport
        transport.write(self._head(status, length + headers))
        if not bodiless and self.method != "HEAD":
            transport.write(body)

    def _head(self, status: int, headers: bytes) -> bytes:
        return b"%b%bx-request-id: %b\r\n%b\r\n" % (
            response.status_line(status),
            self._channel.answer_prefix(),
            self.request_id.encode(),
            headers,
        )

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length; `write` and `finish` follow."""
        if self._state != _WAITING:
            raise self._wrong("start")
        self._state = _STREAMING
        bodiless = status in response.BODILESS
        self._silent = bodiless or self.method == "HEAD"
        if not self.gone:
            coding = response.CHUNKED if self._chunked and not bodiless else b""
            self._channel.transport.write(self._head(status, coding + headers))

    def write(self, data: bytes) -> None:
        """Send a piece of a started answer; an empty piece sends nothing."""
        if self._state != _STREAMING:
            raise self._wrong("write")
        if not data or self.gone or self._silent:
            return
        transport = self._channel.transport
        if not self._chunked:
            transport.write(data)
        elif len(data) <= JOINED_BYTES_MAX:
            transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            transport.write(b"%x\r\n" % len(data))
            transport.write(data)
            transport.write(b"\r\n")

    def finish(self, data: bytes = b"") -> None:
        """End a started answer, with a last piece if there is one."""
        if self._state != _STREAMING:
            raise self._wrong("finish")
        self._state = _DONE
        if self.gone:
            return
        channel = self._channel
        if self._silent:
            pass
        elif not self._chunked:
            if data:
                channel.transport.write(data)
        elif not data:
            channel.transport.write(response.LAST_CHUNK)
        elif len(data) <= JOINED_BYTES_MAX:
            channel.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
        else:
            channel.transport.write(b"%x\r\n" % len(data))
            channel.transport.write(data)
            channel.transport.write(b"\r\n0\r\n\r\n")
        channel.answered()

    def abort(self) -> None:
        """Cut the answer so that no client takes it for a whole one; the connection is lost.

        Chunks that were written still go out (an error event among them), then the stream ends
        without its last chunk. Where only the end of the connection would mark the end of the
        answer (HTTP/1.0), it is reset. After a complete answer this does nothing.
        """
        if self._state == _DONE:
            return
        streaming = self._state == _STREAMING
        self._state = _DONE
        if not self.gone:
            self._channel.cut(flush=streaming and self._chunked and not self._silent)

    @property
    def answer_begun(self) -> bool:
        """Whether a status has been sent, or would have been to a client that is gone."""
        return self._state != _WAITING

    @property
    def peer(self) -> str:
        """The client's address and port."""
        return self._channel.peer

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self._channel.secure

    def leave(self) -> None:
        """Take note that the client is gone (called by the connection)."""
        if self.gone or self._state == _DONE:
            return
        self.gone = True
        on_gone, self.on_gone = self.on_gone, None
        if on_gone is not None:
            on_gone()

    def _wrong(self, step: str) -> AnswerStateError:
        return AnswerStateError(
            f"{step}() on an answer that is {_NAMES[self._state]} ({self.method} {self.path})",
            error_id="HX-2101",
            hint="this is a bug; the request's id in the log tells which handler it was",
        )
