"""A transport in memory and a bench around one connection: no socket, no event loop."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from helexa.cortex.gateway.edge.connection import Connection
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.edge.response import refusal_answer
from helexa.cortex.gateway.edge.service import Admit, Handler, Service, admit_all


class MemoryTransport:
    """Keeps what is written. `taking=False` plays a client that reads nothing."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.writes: list[bytes] = []
        self.backlog = 0
        self.taking = True
        self.high = 64 * 1024
        self.reading = True
        self.closing = False
        self.aborted = False
        self.ended = False
        self.can_end = True
        self.options: list[tuple[int, int, bytes]] = []
        self.protocol: Connection | None = None

    def set_write_buffer_limits(self, high: int) -> None:
        self.high = high

    def get_write_buffer_size(self) -> int:
        return self.backlog

    def write(self, data: bytes) -> None:
        assert not self.ended, "written after the end of output"
        assert not self.closing, "written after close"
        self.writes.append(bytes(data))
        if self.taking:
            self.sent += data
            return
        self.backlog += len(data)
        if self.backlog > self.high and self.protocol and not self.protocol.write_paused:
            self.protocol.pause_writing()

    def take(self, count: int | None = None) -> None:
        """Let the client read, all or some bytes."""
        assert self.protocol is not None
        self.backlog -= self.backlog if count is None else min(count, self.backlog)
        if self.backlog <= self.high // 4 and self.protocol.write_paused:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def can_write_eof(self) -> bool:
        return self.can_end

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        self.options.append((level, option, value))


def echo(exchange: Exchange) -> None:
    """Answer with the body that came."""
    exchange.respond(200, b"content-type: text/plain\r\n", exchange.body)


@dataclass
class EdgeBench:
    """One connection on a fake transport, and everything it did."""

    handler: Handler = echo
    admit: Admit = admit_all
    limits: Limits = field(default_factory=Limits)
    refuse: Callable[..., tuple[int, bytes, bytes]] = refusal_answer

    def __post_init__(self) -> None:
        self.seen: list[Exchange] = []
        self.faults: list[BaseException] = []
        self.later: deque[Callable[[], None]] = deque()
        self.service = Service(
            self._handle,
            self.admit,
            self.refuse,
            lambda error, _id: self.faults.append(error),
            self.limits,
            "req-",
        )
        self.service.later = self.later.append
        self.now = 1000.0
        self.service.tick(self.now, 1_700_000_000.0)
        self.connect()

    def connect(self) -> None:
        """Begin another connection to the same server."""
        self.transport = MemoryTransport()
        self.connection = Connection(self.service, "127.0.0.1:50000", secure=False)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]

    def _handle(self, exchange: Exchange) -> None:
        self.seen.append(exchange)
        self.handler(exchange)

    def send(self, *pieces: bytes) -> None:
        """Deliver bytes as the event loop would, and run what was put off."""
        for piece in pieces:
            if not self.transport.closing:
                self.connection.data_received(piece)
            self.turn()

    def turn(self) -> None:
        """Run what was put off to the next turn of the event loop."""
        while self.later:
            self.later.popleft()()

    def end(self) -> None:
        """Let the client close its side."""
        if not self.transport.closing:
            self.connection.eof_received()

    def lose(self) -> None:
        """Let the connection be lost."""
        self.connection.connection_lost(None)

    def wait(self, seconds: float) -> None:
        """Let time pass in sweeps of a quarter second."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 0.25)
            self.service.tick(self.now, 1_700_000_000.0 + self.now)

    @property
    def sent(self) -> bytes:
        return bytes(self.transport.sent)

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection, or its side of it."""
        return self.transport.closing or self.transport.ended
