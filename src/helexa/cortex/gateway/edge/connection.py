"""One client's connection: cuts the incoming bytes into requests and keeps answers in order.

    READY ──head──► BODY ──whole──► ANSWERING ──answered──► READY
      └─────── refused ─► LINGER ─► CLOSED ◄── anything that ends it

One request at a time: while one is answered, what comes after it is held unread, and past a
bound the socket is not read from any more. So answers are in order by construction.
An end of input while an answer is owed means that the client is gone; a half close does too,
as for most engines and proxies: nobody who still waits for tokens closes their side.

No timer and no task per connection: `deadline_s` is looked at by the server's sweep.
"""

from typing import Final

from helexa.cortex.gateway.edge import grammar, response
from helexa.cortex.gateway.edge.answering import (
    ANSWERING,
    BODY,
    INTERNAL,
    LINGER,
    NEVER,
    READY,
    Answering,
)
from helexa.cortex.gateway.edge.body import ChunkedBody, DeclaredBody, no_room, over_limit
from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.head import CHUNKED
from helexa.cortex.gateway.edge.memo import HeadMemo
from helexa.cortex.gateway.edge.service import Service
from helexa.protocol.errors import ErrorCode, Refusal

_MORE: Final = -1
HEADS_A_TURN_MAX: Final = 16
"""Requests of one connection taken in one turn of the event loop, so that a client that sends
thousands of small ones at once does not hold up everybody else."""


class Connection(Answering):
    """Created for each accepted socket; lives until `connection_lost`."""

    __slots__ = ("_memo", "_pumping", "_scanned")

    def __init__(self, service: Service, peer: str, *, secure: bool) -> None:
        super().__init__(service, peer, secure=secure)
        self._pumping = False
        """Requests are being taken from data further up the stack."""
        self._memo = HeadMemo()
        self._scanned = 0
        """Bytes of the held part of a head that were looked at."""

    # -- called by the event loop ------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, or hold them for later."""
        phase = self._phase
        if phase < ANSWERING:
            if self._held:
                self._held += data
                self._pump(self._held)
            else:
                self._pump(data)
        elif phase == ANSWERING:
            self._held += data
            self._bound_held()
        elif phase == LINGER:
            self._received += len(data)
            if self._received > self._service.limits.linger_bytes_max:
                self._close()

    def resume_writing(self) -> None:
        """Let the answer go on, or the next request begin."""
        self.write_paused = False
        exchange = self._exchange
        if self._phase == ANSWERING and exchange is not None:
            self.deadline_s = NEVER
            if exchange.on_resume is not None:
                exchange.on_resume()
        elif self._phase == READY:
            self.deadline_s = self._service.now_s + self._service.limits.idle_timeout_s
            self._go_on()

    # -- called by the exchange --------------------------------------------------------------

    def answered(self) -> None:
        """Go on to the next request, or end the connection."""
        self._exchange = None
        if self._charged:
            self._discharge()
        service = self._service
        if self._keep_alive and not service.draining:
            self._phase = READY
            limits = service.limits
            self.deadline_s = service.now_s + (
                limits.write_stall_s if self.write_paused else limits.idle_timeout_s
            )
            if self._held:
                self._go_on()
        elif self._unread or self._held or self._keep_alive:
            self._linger()
        else:
            self._close()

    # -- requests ----------------------------------------------------------------------------

    def _pump(self, data: bytes | bytearray) -> None:
        """Work through data, request by request, until it ends or an answer is waited for."""
        self._pumping = True
        offset, size, heads = 0, len(data), 0
        while offset < size:
            phase = self._phase
            if phase == READY and not self.write_paused:
                heads += 1
                if heads > HEADS_A_TURN_MAX:
                    self._service.later(self._go_on)
                    break
                taken = self._take_head(data, offset)
            elif phase == BODY:
                taken = self._take_body(data, offset)
            else:
                break
            if taken == _MORE:
                break
            offset = taken
        self._pumping = False
        held = self._held
        if data is held:
            del held[:offset]
        elif offset < size:
            held += memoryview(data)[offset:]
        if self._phase >= LINGER:
            held.clear()
        elif held or self._reading_paused:
            self._bound_held()

    def _go_on(self) -> None:
        """Take up what is held, unless that is being done further up the stack."""
        if self._held and not self._pumping and self._phase == READY:
            self._pump(self._held)

    def _bound_held(self) -> None:
        over = len(self._held) > self._service.limits.pipelined_bytes_max
        if over is self._reading_paused:
            return
        self._reading_paused = over
        if over:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def _take_head(self, data: bytes | bytearray, offset: int) -> int:
        """Begin the request whose head is at `offset`; return where to go on, or _MORE."""
        service = self._service
        scanned = self._scanned
        end = data.find(b"\r\n\r\n", offset + scanned - 3 if scanned > 3 else offset) + 4
        if end < 4:
            return self._await_head(data, offset)
        self._scanned = 0
        memo = self._memo
        raw = bytes(data[offset:end])
        head = memo.recall(raw)
        if head is None:
            found = (
                service.reader.read(raw)
                if end - offset <= service.limits.head_bytes_max
                else grammar.head_too_large(service.limits)
            )
            if isinstance(found, Refusal):
                self._refuse_unread(None, found)
                return len(data)
            head = found
            memo.remember(raw, head)
        self._keep_alive = head.keep_alive
        exchange = Exchange(self, head, head.request_id or service.new_request_id())
        self._exchange = exchange
        length = head.length
        expect = head.expect
        exchange.judged = memo.judged
        refusal = self._admit(exchange, length, expect)
        memo.judged = exchange.judged
        if refusal is not None and length:
            # Its body is not read, be it there already or not: what a client gets to see does not
            # depend on how its bytes were cut into packets.
            self._refuse_unread(exchange, refusal)
            return len(data)
        stop = end + length
        if length >= 0 and stop <= len(data):
            if length:
                exchange.body = bytes(data[end:stop])  # copies once where data is bytes
            self._handle(exchange, refusal)
            return stop
        self._begin_body(length, wanted=expect is not None and end == len(data))
        return end

    def _await_head(self, data: bytes | bytearray, offset: int) -> int:
        part = data[offset:] if offset else data
        if not self._scanned:
            self.deadline_s = self._service.now_s + self._service.limits.header_timeout_s
        problem = grammar.problem_of_part(part, self._scanned, self._service.limits)
        if problem is not None:
            self._refuse_unread(None, problem)
            return len(data)
        self._scanned = len(part)
        return _MORE

    def _admit(self, exchange: Exchange, length: int, expect: bytes | None) -> Refusal | None:
        service = self._service
        try:
            refusal = service.admit(exchange)
        except Exception as error:  # noqa: BLE001 - a bug there costs one request, not the process
            service.on_fault(error, exchange.request_id)
            return INTERNAL
        if refusal is not None:
            return refusal
        if length > service.limits.body_bytes_max:
            return over_limit(service.limits)
        if expect is not None and expect.lower() != b"100-continue":
            return Refusal(
                ErrorCode.EXPECTATION_FAILED, "the only expectation taken is 100-continue"
            )
        return None

    def _begin_body(self, length: int, *, wanted: bool) -> None:
        self._phase = BODY
        self._received = self._mark = 0
        self.deadline_s = self._service.now_s + self._service.limits.body_window_s
        self._body = (
            ChunkedBody(self._service.limits) if length == CHUNKED else DeclaredBody(length)
        )
        if wanted:
            self.transport.write(response.CONTINUE)

    def _take_body(self, data: bytes | bytearray, offset: int) -> int:
        """Take what belongs to the body; return where to go on."""
        body, exchange = self._body, self._exchange
        assert body is not None
        assert exchange is not None
        stop = body.feed(data, offset)
        self._received += stop - offset
        refusal = body.refusal or self._charge(len(body.body))
        if refusal is not None:
            self._refuse_unread(exchange, refusal)
            return len(data)
        if body.done:
            exchange.body = bytes(body.body)
            self._body = None
            self._handle(exchange, None)
        return stop

    def _charge(self, byte_count: int) -> Refusal | None:
        """Count what the body has by now as memory that is taken, until the request is over."""
        service = self._service
        more = byte_count - service.limits.body_bytes_free - self._charged
        if more > 0:
            self._charged += more
            service.bodies_bytes += more
            if service.bodies_bytes > service.limits.bodies_bytes_max:
                return no_room(service.limits)
        return None
