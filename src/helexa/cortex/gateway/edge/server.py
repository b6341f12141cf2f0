"""The edge server: listens, sweeps deadlines, drains and closes. The shell around `connection`."""

import asyncio
import contextlib
import resource
import secrets
import socket
import ssl
from collections.abc import Sequence
from typing import Final

import structlog

from helexa.cortex.gateway.edge.connection import Connection
from helexa.cortex.gateway.edge.limits import Limits
from helexa.cortex.gateway.edge.listening import Gate
from helexa.cortex.gateway.edge.response import refusal_answer
from helexa.cortex.gateway.edge.service import (
    Admit,
    Handler,
    OnFault,
    Refuse,
    Service,
    admit_all,
)
from helexa.util.clock import Clock, SystemClock
from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

ABORT_S: Final = 1.0
"""How long dropped connections may take to be forgotten; one turn of the event loop, in fact."""

_log = structlog.get_logger("helexa.edge")


def log_fault(error: BaseException, request_id: str) -> None:
    """Log an exception out of a handler; the client was told nothing but `internal_error`."""
    _log.error("request handler failed", request_id=request_id, error=describe(error))


class EdgeServer:
    """Serves HTTP/1.1 on any number of sockets until closed.

    `handler` gets each whole request; `admit` may refuse one by its head; `refuse` words refusals,
    those of the edge itself included; `on_fault` is told of exceptions out of these. All are plain
    calls on the event loop's thread.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        admit: Admit = admit_all,
        refuse: Refuse = refusal_answer,
        limits: Limits | None = None,
        clock: Clock | None = None,
        on_fault: OnFault = log_fault,
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock or SystemClock()
        prefix = f"req-{secrets.token_hex(6)}-"
        self._service = Service(handler, admit, refuse, on_fault, self._limits, prefix)
        self._service.on_lost = self._lost
        self._gates: list[Gate] = []
        self._scope = TaskScope(lambda name, error: on_fault(error, name))
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._connections_max = self._limits.connections_max

    @property
    def addresses(self) -> list[str]:
        """Where the server listens, as `host:port`."""
        return [address for gate in self._gates for address in gate.addresses]

    @property
    def connection_count(self) -> int:
        """Open connections, idle ones included."""
        return len(self._service.connections)

    @property
    def accepting(self) -> bool:
        """Whether any socket is being accepted from now; not at the limit of connections."""
        return any(gate.accepting for gate in self._gates)

    async def start(
        self, sockets: Sequence[socket.socket], ssl_context: ssl.SSLContext | None = None
    ) -> None:
        """Serve on listening sockets, with TLS if a context is given. May be called again.

        The server owns the sockets from here on.
        """
        loop = asyncio.get_running_loop()
        if self._sweeper is None:
            self._service.later = loop.call_soon
            self._connections_max = self._room_for_connections()
            self._sweep()
        for sock in sockets:
            sock.settimeout(0)
            # Accepted sockets inherit these, so that no system call is made per connection.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._limits.send_buffer_bytes)
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def take(client: socket.socket, peer: str) -> None:
            connection = Connection(self._service, peer, secure=ssl_context is not None)
            self._scope.start(self._adopt(client, connection, ssl_context), "edge connection")

        gate = Gate(sockets, take, self._has_room)
        self._gates.append(gate)
        gate.open()

    def close_idle(self) -> None:
        """Close the connections that are between requests."""
        for connection in list(self._service.connections):
            connection.close_idle()

    async def drain(self, deadline_s: float) -> int:
        """Stop listening, let begun requests end, and return how many had to be cut.

        Each connection ends after the answer it is giving, which says `connection: close` if it
        has not begun yet. `deadline_s` is in seconds from now.
        """
        self._service.draining = True
        for gate in self._gates:
            gate.close()
        self.close_idle()
        await self._emptied(deadline_s)
        late = list(self._service.connections)
        cut = sum(1 for connection in late if connection.busy)
        for connection in late:
            connection.abort()
        await self._emptied(ABORT_S)
        return cut

    async def close(self) -> None:
        """Drop every connection and stop."""
        await self.drain(0)
        await self._scope.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    async def _adopt(
        self, client: socket.socket, connection: Connection, context: ssl.SSLContext | None
    ) -> None:
        """Give an accepted socket to the event loop, which closes it if that fails."""
        loop = asyncio.get_running_loop()
        # A client may leave, or fail the TLS handshake, before it is a connection: nothing to tell.
        with contextlib.suppress(OSError, TimeoutError):  # ssl.SSLError is an OSError
            if context is None:
                await loop.connect_accepted_socket(lambda: connection, client)
            else:
                await loop.connect_accepted_socket(
                    lambda: connection,
                    client,
                    ssl=context,
                    ssl_handshake_timeout=self._limits.header_timeout_s,
                )

    async def _emptied(self, within_s: float) -> None:
        """Wait until no connection is left, for a while."""
        self._empty.clear()
        if self._service.connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), within_s)

    def _sweep(self) -> None:
        self._service.tick(self._clock.monotonic(), self._clock.wall())
        if not self._service.draining:
            for gate in self._gates:
                gate.retry()
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._limits.sweep_s, self._sweep)

    def _lost(self) -> None:
        if not self._service.connections:
            self._empty.set()
        if not self._service.draining:
            for gate in self._gates:
                gate.open()

    def _has_room(self) -> bool:
        begun = len(self._service.connections) + len(self._scope)
        return begun < self._connections_max

    def _room_for_connections(self) -> int:
        """Return how many connections fit below the process's limit of open files."""
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allowed == resource.RLIM_INFINITY:
            return self._limits.connections_max
        room = max(1, allowed - self._limits.file_descriptors_spare)
        return min(self._limits.connections_max, room)
