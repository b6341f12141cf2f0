"""One HTTP/1.1 connection to an engine: bytes of the socket ⇄ callbacks of one exchange at a time.

What it is not: a pool (`engine_client`), or anything that knows of inference. The engine is not
trusted: its heads, interim answers and trailers are bounded, and a connection over which it said
more than it was asked is never used again.
"""

import asyncio
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import httptools

HEAD_BYTES_MAX: Final = 64 << 10
HEADERS_MAX: Final = 100
_KEPT: Final = {b"content-type": "content-type", b"retry-after": "retry-after"}
"""The only headers of an engine that reach anyone."""
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_BODILESS: Final = frozenset({204, 304})


class ExchangeError(StrEnum):
    """How an exchange with an engine can fail."""

    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    """Lost before the head of the answer; later, `on_end(complete=False)` tells it."""
    SILENT = "silent"
    """No byte came for the exchange's `silence_limit_s`."""
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    CROWDED = "crowded"
    """The endpoint has as many connections as are allowed."""
    CLOSED = "closed"
    """The client was closed."""


class ExchangeListener(Protocol):
    """Told what becomes of an exchange, synchronously, from the event loop.

    `on_whole`, for an answer that one read completes; else `on_head`, then any number of `on_data`,
    then `on_end`. `on_error` may take the place of any of them and is then the last call. After
    `Exchange.cancel` nothing is called.
    """

    def on_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Take all of an answer; the exchange is over."""
        ...

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the status and the few headers that are kept (names in lower case)."""
        ...

    def on_data(self, data: bytes) -> None:
        """Take all body bytes of one read."""
        ...

    def on_end(self, *, complete: bool) -> None:
        """The body ended: by its own framing, or cut by a lost connection."""
        ...

    def on_error(self, kind: ExchangeError, message: str) -> None:
        """There will be no (further) answer."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection."""

    body_bytes_max: int = 256 << 20
    head_bytes_max: int = HEAD_BYTES_MAX
    idle_s: float = 4.0
    """Below the 5 s after which llama.cpp's and uvicorn's servers close an idle connection."""


class Exchange:
    """One request to an engine and its answer."""

    __slots__ = ("connection", "done", "listener", "paused", "quiet_s", "silence_limit_s", "task")

    def __init__(self, listener: ExchangeListener, silence_limit_s: float) -> None:
        self.listener = listener
        self.silence_limit_s = silence_limit_s
        """Longest time without a byte of the engine; may be changed while it runs."""
        self.quiet_s = 0.0
        self.paused = False
        self.done = False
        self.connection: EngineConnection | None = None
        """What works on it, once there is one."""
        self.task: asyncio.Task[None] | None = None
        """What makes that connection."""

    def cancel(self) -> None:
        """Close the TCP connection at once, which tells the engine to stop. Idempotent."""
        if self.done:
            return
        self.done = True
        if self.task is not None:
            self.task.cancel()
        if self.connection is not None:
            self.connection.abort()

    def pause_reading(self) -> None:
        """Take no more bytes from the engine; the silence limit rests meanwhile."""
        if not self.paused and not self.done:
            self.paused = True
            if self.connection is not None:
                self.connection.pause()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self.paused and not self.done:
            self.paused = False
            self.quiet_s = 0.0
            if self.connection is not None:
                self.connection.resume()

    def fail(self, kind: ExchangeError, message: str) -> None:
        """End the exchange by an error, once."""
        if not self.done:
            self.done = True
            self.listener.on_error(kind, message)


class EngineConnection(asyncio.Protocol):
    """The protocol of one TCP (or unix, or TLS) connection.

    `on_free(connection)` is called when an answer is complete and the connection can be used
    again, `on_lost(connection)` once when it is gone.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        on_free: Callable[["EngineConnection"], None],
        on_lost: Callable[["EngineConnection"], None],
    ) -> None:
        self.idle_limit_s = limits.idle_s
        self.idle_quiet_s = 0.0
        self.exchange: Exchange | None = None
        self._limits = limits
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: Any = None
        self._poll: Any = None
        self._parts: list[bytes] = []
        self.on_body = self._parts.append
        """Called by the parser; what it collects is told when the whole read is parsed."""
        self._parser: Any = httptools.HttpResponseParser(self)
        self._reset_answer()

    def _reset_answer(self) -> None:
        self._headers: dict[str, str] = {}
        self._framing: dict[bytes, bytes] = {}
        self._status = 0
        self._header_bytes = 0
        self._header_count = 0
        self._overhead_bytes = 0
        self._body_bytes = 0
        self._head_known = False
        self._head_told = False
        self._interim = False
        self._complete = False
        self._reusable = False
        self._ends_with_stream = False
        self._until_close = False

    # ── used by the pool ──────────────────────────────────────────────────────────────────────

    def is_alive(self) -> bool:
        """Tell whether an idle connection can carry a request: open, and nothing unread on it.

        The socket is polled because the engine's FIN may be in the kernel and not yet read: a
        request written behind it would be lost, and could not be told from one that was worked on.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        return not self._poll.poll(0)

    def start(self, exchange: Exchange, payload: bytes) -> None:
        """Send a request (head and body) whose answer goes to the exchange's listener."""
        assert self.exchange is None
        self.exchange = exchange
        exchange.connection = self
        self._transport.write(payload)
        if exchange.paused:
            self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once; the current exchange hears nothing more."""
        self.exchange = None
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading from the socket."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read from the socket again."""
        self._transport.resume_reading()

    # ── asyncio.Protocol ──────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = transport
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse what one read brought, then tell the listener, in one call each."""
        exchange = self.exchange
        if exchange is None:  # an engine that speaks unasked
            self._transport.abort()
            return
        fault: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            fault = error
        if self._head_told and self._parts and not self._complete and fault is None:
            self._deliver_body(exchange)  # what almost every read of a stream is
        elif self._complete and not self._head_told:
            self._deliver_whole(exchange, reusable=fault is None)
        else:
            self._overhead_bytes += len(data)
            self._deliver(exchange, fault)

    def _deliver(self, exchange: Exchange, fault: Exception | None) -> None:
        """Tell what a read brought that was the head, an end, no part of an answer, or a fault."""
        if self._head_known and not self._head_told:
            self._head_told = True
            self._overhead_bytes = 0
            exchange.quiet_s = 0.0
            exchange.listener.on_head(self._status, self._headers)
        if self._parts and self.exchange is exchange:
            self._deliver_body(exchange)
        if self.exchange is not exchange:
            return  # cancelled by its listener
        if self._complete:
            self._release(exchange, reusable=fault is None)
            exchange.listener.on_end(complete=True)
        elif fault is not None:
            self._give_up(exchange, ExchangeError.MALFORMED, _describe(fault))
        elif self._overhead_bytes > self._limits.head_bytes_max:
            text = f"more than {self._limits.head_bytes_max} bytes of the engine were no answer"
            self._give_up(exchange, ExchangeError.MALFORMED, text)

    def _deliver_whole(self, exchange: Exchange, *, reusable: bool) -> None:
        status, headers, body = self._status, self._headers, b"".join(self._parts)
        self._parts.clear()
        if len(body) > self._limits.body_bytes_max:
            self._too_large(exchange)
            return
        self._release(exchange, reusable=reusable)
        exchange.listener.on_whole(status, headers, body)

    def _deliver_body(self, exchange: Exchange) -> None:
        exchange.quiet_s = 0.0
        self._overhead_bytes = 0
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        body_bytes = self._body_bytes = self._body_bytes + len(body)
        if body_bytes > self._limits.body_bytes_max:
            self._too_large(exchange)
        else:
            exchange.listener.on_data(body)

    def _too_large(self, exchange: Exchange) -> None:
        text = f"the engine's answer has more than {self._limits.body_bytes_max} bytes"
        self._give_up(exchange, ExchangeError.TOO_LARGE, text)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, if there is one, and the pool."""
        exchange, self.exchange = self.exchange, None
        self._on_lost(self)
        if exchange is None or exchange.done:
            return
        if self._head_told:
            exchange.done = True
            exchange.listener.on_end(complete=self._until_close and exc is None)
        else:
            text = f"the engine closed the connection before it answered ({exc or 'end of file'})"
            exchange.fail(ExchangeError.CONNECTION_LOST, text)

    def silent(self, exchange: Exchange) -> None:
        """Give an exchange up because nothing came for its limit."""
        text = f"the engine sent nothing for {exchange.silence_limit_s:g} s"
        self._give_up(exchange, ExchangeError.SILENT, text)

    def _release(self, exchange: Exchange, *, reusable: bool) -> None:
        """The answer is complete: let the connection go, to the pool if it can be used again."""
        transport = self._transport
        reusable = (
            reusable
            and self._reusable
            and not exchange.paused
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )
        self.exchange = None
        exchange.done = True
        self._reset_answer()
        if reusable:
            self.idle_quiet_s = 0.0
            self._on_free(self)
        else:
            transport.abort()

    def _give_up(self, exchange: Exchange, kind: ExchangeError, message: str) -> None:
        self.abort()
        exchange.fail(kind, message)

    # ── httptools callbacks; an exception raised here comes out of feed_data ──────────────────

    def on_message_begin(self) -> None:
        """An answer begins: the first, or one after an interim answer. No other is allowed."""
        if self._complete:
            raise ValueError("an answer to nothing that was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few headers that matter; trailers are counted and dropped."""
        count = self._header_count = self._header_count + 1
        size = self._header_bytes = self._header_bytes + len(name) + len(value) + 4
        if count > HEADERS_MAX or size > self._limits.head_bytes_max:
            raise ValueError(f"{count} headers, {size} bytes of them")
        if self._head_known:
            return
        lowered = name.lower()
        if lowered in _FRAMING:
            self._framing[lowered] = value.strip().lower()
        elif lowered in _KEPT:
            self._headers[_KEPT[lowered]] = value.decode("latin-1")
        elif lowered == b"keep-alive":
            self._take_keep_alive(value)
        elif lowered == b"server":
            self._ends_with_stream = value.startswith(b"llama.cpp")

    def _take_keep_alive(self, value: bytes) -> None:
        """Obey `Keep-Alive: timeout=5`: leave a second before the engine closes by itself."""
        for part in value.split(b","):
            name, _, number = part.strip().partition(b"=")
            if name.lower() == b"timeout" and number.isdigit() and len(number) < 7:
                self.idle_limit_s = min(self._limits.idle_s, max(0.0, int(number) - 1.0))

    def on_headers_complete(self) -> None:
        """Check the framing; 1xx answers are skipped."""
        status = self._parser.get_status_code()
        if status == 101:
            raise ValueError("another protocol, which was not asked for")
        if 100 <= status < 200:
            self._interim = True
            self._headers.clear()
            self._framing.clear()
            return
        framing = self._framing
        coding = framing.get(b"content-encoding", b"identity")
        if coding != b"identity":
            raise ValueError(f"content-encoding {coding!r}, which was not asked for")
        transfer = framing.get(b"transfer-encoding")
        if transfer is not None and transfer != b"chunked":
            raise ValueError(f"transfer-encoding {transfer!r}")
        self._status = status
        self._head_known = True
        self._until_close = (
            transfer is None and b"content-length" not in framing and status not in _BODILESS
        )

    def on_message_complete(self) -> None:
        """The answer is whole, if it was not an interim one."""
        if self._interim:
            self._interim = False
            return
        self._complete = True
        # llama.cpp offers to keep a connection alive and closes it up to a second after the last
        # chunk of a stream: a request that was written to it in between would be lost.
        lost_soon = self._ends_with_stream and b"transfer-encoding" in self._framing
        self._reusable = self._parser.should_keep_alive() and not lost_soon


def _describe(fault: Exception) -> str:
    cause = fault.__context__ if isinstance(fault, httptools.HttpParserCallbackError) else None
    return f"the engine's answer is not valid HTTP: {cause or fault}"
