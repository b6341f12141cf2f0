"""One stream of the tunnel: its queue, its credit, its handler. See `protocol.tunnel`."""

from collections import deque
from typing import TYPE_CHECKING, Final

from helexa.protocol.tunnel_frames import (
    ANSWER,
    BACKLOG_HIGH_BYTES,
    DATA,
    DIRECT_BYTES,
    END,
    GIVE_BACK_BYTES,
    HEAD,
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    RESET,
    TURN_BYTES,
    U32,
    WINDOW,
    WINDOW_BYTES,
    StreamHandler,
    pack_answer,
    pack_header,
)

if TYPE_CHECKING:
    from helexa.protocol.tunnel import Tunnel


class _Nobody(StreamHandler):
    """The handler of a stream whose consumer is gone."""

    def on_head(self, payload: bytes) -> None:
        """Ignore it."""

    def on_data(self, data: bytes) -> None:
        """Ignore it."""

    def on_end(self, payload: bytes) -> None:
        """Ignore it."""

    def on_reset(self, payload: bytes) -> None:
        """Ignore it."""

    def on_writable(self) -> None:
        """Ignore it."""


NOBODY: Final[StreamHandler] = _Nobody()


class Stream:
    """One request and its answer. Made by `Tunnel.open` or given to `accept`."""

    __slots__ = (
        "_credit", "_ending", "_queue", "_ready", "_receivable", "_taken", "_tunnel",
        "backlog_bytes", "congested", "handler", "id", "over",
    )  # fmt: skip

    def __init__(self, tunnel: "Tunnel", number: int) -> None:
        self._tunnel = tunnel
        self.id = number
        self.handler: StreamHandler = NOBODY
        self.over = False
        """Nothing more will come or go."""
        self.backlog_bytes = 0
        """Bytes accepted for sending that are still in memory here."""
        self._queue: deque[tuple[int, bytes]] | None = None
        self._ready = False
        self._ending = False
        self.congested = False
        """The peer takes less than is given: stop until `on_writable`."""
        self._credit = WINDOW_BYTES
        self._receivable = WINDOW_BYTES
        self._taken = 0

    def send_head(self, payload: bytes) -> None:
        """Send the head of the answer; raises ValueError past 65,535 bytes."""
        self._send(HEAD, payload)

    def send_data(self, data: bytes) -> None:
        """Send bytes of the body, any number of them; what has no credit yet waits here."""
        size, tunnel = len(data), self._tunnel
        if (
            size <= self._credit
            and size <= PAYLOAD_BYTES_MAX
            and tunnel._out_bytes < DIRECT_BYTES
            and not (self._queue or self.over or self._ending)
        ):  # as `_send` would, by the shortest way: this is once per event of every stream
            self._credit -= size
            tunnel._say(pack_header(DATA, self.id, size) + data)
            return
        if size <= PAYLOAD_BYTES_MAX:
            self._send(DATA, data)
            return
        view = memoryview(data)
        for start in range(0, len(data), PAYLOAD_BYTES_MAX):
            self._send(DATA, bytes(view[start : start + PAYLOAD_BYTES_MAX]))

    def send_end(self, payload: bytes = b"") -> None:
        """Say that the body is complete; on the accepting side the stream is over with it."""
        if not self._ending and not self.over:
            self._send(END, payload)
            self._ending = True

    def send_answer(self, head: bytes, body: bytes, trailer: bytes) -> None:
        """Send all of an answer of which nothing went out yet: the accepting side's alone.

        A small one is one frame, where the line is free and the peer knows such frames.
        """
        tunnel = self._tunnel
        size = 4 + len(head) + len(trailer) + len(body)
        if (
            not tunnel.answers
            or size > TURN_BYTES
            or self._queue
            or tunnel._out_bytes >= DIRECT_BYTES
        ):
            self.send_head(head)
            if body:
                self.send_data(body)
            self.send_end(trailer)
        elif not self.over and not self._ending:
            lead = pack_answer(ANSWER, self.id, size, len(head), len(trailer))
            tunnel._forget(self)
            tunnel._say(b"".join((lead, head, trailer, body)))

    def reset(self, payload: bytes = b"") -> None:
        """End the stream at once, unsent bytes included. Nothing happens if it is over."""
        if self.over:
            return
        self._tunnel._forget(self)
        self._tunnel._put(RESET, self.id, payload[:PAYLOAD_BYTES_MAX])

    def consumed(self, byte_count: int) -> None:
        """Tell that received bytes are out of memory, so that the peer may send more."""
        taken = self._taken + byte_count
        if taken < GIVE_BACK_BYTES:
            self._taken = taken
            return
        self._taken = 0
        if not self.over:
            self._receivable += taken
            self._tunnel._put(WINDOW, self.id, U32.pack(taken))

    def _send(self, kind: int, payload: bytes) -> None:
        if self.over or self._ending:
            return
        size = len(payload)
        if size > PAYLOAD_BYTES_MAX:
            raise ValueError(f"{size} bytes do not fit a frame of {PAYLOAD_BYTES_MAX}")
        tunnel = self._tunnel
        if not self._queue and tunnel._out_bytes < DIRECT_BYTES:
            if kind != DATA:
                tunnel._put(kind, self.id, payload)
                if kind == END and tunnel.accepts:
                    tunnel._forget(self)
                return
            if size <= self._credit:
                self._credit -= size
                tunnel._put(DATA, self.id, payload)
                return
        if self._queue is None:
            self._queue = deque()
        self._queue.append((kind, payload))
        self.backlog_bytes += size
        if self.backlog_bytes > BACKLOG_HIGH_BYTES and not self.congested:
            self.congested = True
            tunnel.traffic.stalls += 1
        if not self._ready and (self._credit or kind != DATA):
            tunnel._make_ready(self)

    def _turn(self, out: list[bytes]) -> int:
        """Move up to `TURN_BYTES` of the queue to `out`; return the bytes moved."""
        queue = self._queue
        moved = 0
        while queue and moved < TURN_BYTES:
            kind, payload = queue[0]
            size = len(payload)
            if kind == DATA and (size > self._credit or size > TURN_BYTES):
                allowed = min(self._credit, TURN_BYTES)
                if not allowed:
                    break
                queue[0] = (DATA, payload[allowed:])
                payload, size = payload[:allowed], allowed
            else:
                queue.popleft()
            if kind == DATA:
                self._credit -= size
            self.backlog_bytes -= size
            out.append(pack_header(kind, self.id, size) + payload)
            moved += HEADER_BYTES + size
            if kind == END and self._tunnel.accepts:
                self._tunnel._forget(self)
        return moved

    def _can_go(self) -> bool:
        queue = self._queue
        return bool(queue) and (self._credit > 0 or queue[0][0] != DATA)  # type: ignore[index]
