"""How a connection answers and ends: refusals, faults, deadlines, closing, lingering, cutting.

The half of `connection` that does not look at incoming bytes.
"""

import asyncio
import math
import socket
import struct
from abc import abstractmethod
from typing import Final, cast

from helexa.cortex.gateway.edge import response
from helexa.cortex.gateway.edge.body import ChunkedBody, DeclaredBody
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.head import NO_HEAD
from helexa.cortex.gateway.edge.service import Service
from helexa.protocol.errors import ErrorCode, Refusal

# Plain numbers: an enum member costs a look-up per comparison on the hottest path there is.
# Their order is used: up to BODY input is read for a request, from LINGER on it is dropped.
READY, BODY, ANSWERING, LINGER, CLOSED = range(5)
NEVER: Final = math.inf
INTERNAL: Final = Refusal(ErrorCode.INTERNAL_ERROR, "the request could not be handled")
_RESET: Final = struct.pack("ii", 1, 0)


class Answering(asyncio.Protocol):
    """The state of a connection, and all of it that is not about reading requests."""

    __slots__ = (
        "_body",
        "_charged",
        "_exchange",
        "_held",
        "_keep_alive",
        "_mark",
        "_phase",
        "_reading_paused",
        "_received",
        "_service",
        "_unread",
        "deadline_s",
        "peer",
        "secure",
        "transport",
        "write_paused",
    )

    transport: asyncio.Transport

    def __init__(self, service: Service, peer: str, *, secure: bool) -> None:
        self._service = service
        self._phase = READY
        self._exchange: Exchange | None = None
        self._body: DeclaredBody | ChunkedBody | None = None
        self._charged = 0
        """Bytes of the present body that are counted among those of all connections."""
        self._held = bytearray()
        """Bytes of a head that is not whole yet, or of requests after the one being answered."""
        self._reading_paused = False
        self._keep_alive = True
        self._unread = False
        """Part of the present request was not read and never will be."""
        self._received = 0
        self._mark = 0
        """What a count (received, backlog) was when it was last judged."""
        self.peer = peer
        self.secure = secure
        self.write_paused = False
        self.deadline_s = service.now_s + service.limits.header_timeout_s

    # -- called by the event loop ------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport and bound its buffer."""
        self.transport = cast("asyncio.Transport", transport)
        service = self._service
        self.transport.set_write_buffer_limits(service.limits.send_buffer_bytes)
        service.connections.add(self)
        if service.draining:
            self._close()

    def connection_lost(self, _error: Exception | None) -> None:
        """Forget the connection; an answer that is owed has nobody to read it."""
        self._phase = CLOSED
        service = self._service
        service.connections.discard(self)
        self._leave()
        self._forget()
        service.on_lost()

    def eof_received(self) -> None:
        """Take the end of input for the end of the client; the transport closes itself."""
        self._end(CLOSED, self._service.limits.write_stall_s)
        self._leave()

    def pause_writing(self) -> None:
        """Note that the client does not keep up."""
        self.write_paused = True
        self._mark = self.transport.get_write_buffer_size()
        if self._phase in (READY, ANSWERING):
            self.deadline_s = self._service.now_s + self._service.limits.write_stall_s

    # -- called by the exchange --------------------------------------------------------------

    def answer_prefix(self) -> bytes:
        """Return the date line, and `connection: close` where this answer is the last."""
        service = self._service
        if self._keep_alive and not service.draining:
            return service.date_line
        return response.CLOSE + service.date_line

    @abstractmethod
    def answered(self) -> None:
        """Go on to the next request, or end the connection."""

    def cut(self, *, flush: bool) -> None:
        """End the connection in the middle of an answer: after what was written, or by a reset."""
        self._exchange = None
        self._forget()
        self._end(CLOSED, self._service.limits.linger_s)
        if flush:
            self.transport.close()
            return
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # -- called by the server ----------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request has begun and its answer is not complete."""
        return self._phase in (BODY, ANSWERING) or (self._phase == READY and bool(self._held))

    def close_idle(self) -> None:
        """Close if no request has begun."""
        if self._phase == READY and not self._held:
            self._close()

    def abort(self) -> None:
        """Drop the connection at once, whatever it is doing."""
        self._leave()
        if self._phase == CLOSED:
            self.transport.abort()
        else:
            self.cut(flush=False)

    def expire(self, now: float) -> None:
        """Act on a passed deadline."""
        phase = self._phase
        limits = self._service.limits
        if phase in (LINGER, CLOSED):
            self.deadline_s = now + limits.linger_s
            self.transport.abort()
        elif self.write_paused and phase != BODY:
            backlog = self.transport.get_write_buffer_size()
            if backlog >= self._mark:
                self.abort()
            else:
                self._mark = backlog
                self.deadline_s = now + limits.write_stall_s
        elif phase == BODY:
            wanted = limits.body_bytes_per_s_min * limits.body_window_s
            if self._received - self._mark < wanted:
                self._refuse_late("the request body")
            else:
                self._mark = self._received
                self.deadline_s = now + limits.body_window_s
        elif phase == READY and self._held:
            self._refuse_late("the request head")
        elif phase == READY:
            self._close()
        else:
            self.deadline_s = NEVER

    # -- answers that are not the handler's --------------------------------------------------

    def _handle(self, exchange: Exchange, refusal: Refusal | None) -> None:
        """Give a whole request to the handler, or its refusal to the client."""
        self._phase = ANSWERING
        self.deadline_s = NEVER
        try:
            if refusal is None:
                self._service.handler(exchange)
            else:
                exchange.respond(*self._service.refuse(exchange, refusal))
        except Exception as error:  # noqa: BLE001 - a bug there costs one request, not the process
            self._fail(exchange, error)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        self._service.on_fault(error, exchange.request_id)
        if exchange.answer_begun:
            exchange.abort()
        else:
            exchange.respond(*response.refusal_answer(exchange, INTERNAL))

    def _refuse_late(self, what: str) -> None:
        self._refuse_unread(
            self._exchange, Refusal(ErrorCode.REQUEST_TIMEOUT, f"{what} did not arrive in time")
        )

    def _refuse_unread(self, exchange: Exchange | None, refusal: Refusal) -> None:
        """Answer a request of which not all was read; the connection ends with that answer."""
        self._keep_alive = False
        self._unread = True
        told = exchange
        if exchange is None:
            exchange = Exchange(self, NO_HEAD, self._service.new_request_id())
        self._exchange = exchange
        self._phase = ANSWERING
        try:
            exchange.respond(*self._service.refuse(told, refusal))
        except Exception as error:  # noqa: BLE001 - a bug there costs one request, not the process
            self._fail(exchange, error)

    # -- endings -----------------------------------------------------------------------------

    def _linger(self) -> None:
        """Say that nothing more will be sent, and drop what still comes for a bounded while.

        Closing at once with unread input would reset the connection, and the reset may overtake
        the answer on its way to the client.
        """
        self._forget()
        self._received = 0
        self._end(LINGER, self._service.limits.linger_s)
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self._forget()
        self._end(CLOSED, self._service.limits.write_stall_s)
        self.transport.close()

    def _end(self, phase: int, within_s: float) -> None:
        self._phase = phase
        self.deadline_s = self._service.now_s + within_s

    def _forget(self) -> None:
        self._held = bytearray()
        self._body = None
        self._discharge()

    def _discharge(self) -> None:
        self._service.bodies_bytes -= self._charged
        self._charged = 0

    def _leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        try:
            exchange.leave()
        except Exception as error:  # noqa: BLE001 - a bug there costs one request, not the process
            self._service.on_fault(error, exchange.request_id)
