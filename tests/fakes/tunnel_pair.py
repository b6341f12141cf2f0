"""Two tunnels joined in memory, and a cortex-side handler that writes down what arrives."""

import asyncio

import msgspec

from helexa.protocol.inference import OpenHead, Reset, ResponseHead, Trailer
from helexa.protocol.tunnel import StreamHandler, Tunnel
from helexa.protocol.workload import Operation
from tests.fakes.exchange_log import until


class StreamLog(StreamHandler):
    """The gateway's side of one stream. `takes` False: a client that does not read."""

    def __init__(self, takes: bool = True) -> None:
        self.head: ResponseHead | None = None
        self._data = bytearray()
        self.trailer: Trailer | None = None
        self.reset: Reset | None = None
        self.takes = takes
        self.unread = 0
        self.stream = None

    def on_head(self, payload: bytes) -> None:
        assert self.head is None
        self.head = msgspec.json.decode(payload, type=ResponseHead)

    def on_data(self, data: bytes) -> None:
        assert self.head is not None, "bytes before a status"
        self._data += data
        self.unread += len(data)
        if self.takes:
            self.take_all()

    def take_all(self) -> None:
        unread, self.unread = self.unread, 0
        self.stream.consumed(unread)

    def on_end(self, payload: bytes) -> None:
        self.trailer = msgspec.json.decode(payload, type=Trailer)

    def on_reset(self, payload: bytes) -> None:
        self.reset = msgspec.json.decode(payload, type=Reset)

    def on_writable(self) -> None:
        pass

    @property
    def data(self) -> bytes:
        return bytes(self._data)

    @property
    def over(self) -> bool:
        return self.trailer is not None or self.reset is not None

    async def ended(self) -> "StreamLog":
        await until(lambda: self.over, "the stream to end")
        return self


class TunnelPair:
    """`cortex` opens streams, `neuron` accepts them; messages travel in later loop turns."""

    def __init__(self, accept) -> None:
        self.faults: list[Exception] = []
        self.requests_held = False
        """What cortex says stays on the way after its next message."""
        loop = asyncio.get_running_loop()
        self.cortex = Tunnel(
            accept=None, wake=lambda: loop.call_soon(self._pump, True), fault=self.faults.append
        )
        self.neuron = Tunnel(
            accept=accept, wake=lambda: loop.call_soon(self._pump, False), fault=self.faults.append
        )
        self.neuron.answers = True

    def _pump(self, from_cortex: bool) -> None:
        source, target = (self.cortex, self.neuron) if from_cortex else (self.neuron, self.cortex)
        while message := source.take():
            if not target.closed:
                target.receive(message)
            if from_cortex and self.requests_held:
                break

    def release(self) -> None:
        """Let what was held arrive."""
        self.requests_held = False
        self._pump(True)

    def open(self, body: bytes = b"{}", log: StreamLog | None = None, **fields) -> StreamLog:
        fields = {"request_id": "r1", "model": "m", "operation": Operation.CHAT, **fields}
        return self.open_raw(msgspec.json.encode(OpenHead(**fields)), body, log)

    def open_raw(self, head: bytes, body: bytes = b"", log: StreamLog | None = None) -> StreamLog:
        log = log if log is not None else StreamLog()
        log.stream = self.cortex.open(head, body, log)
        return log
