"""A neuron's connection that only remembers what it was told."""

from helexa.protocol.control import CortexMessage
from helexa.protocol.tunnel import Stream, StreamHandler


class FakeLink:
    def __init__(self, *, epoch: int = 1, takes: bool = True) -> None:
        self.epoch = epoch
        self.takes = takes
        self.heard_s = 0.0
        self.sent: list[CortexMessage] = []
        self.closed: tuple[int, str] | None = None
        self.welcomed: tuple[str, float] | None = None
        self.opened = 0

    def welcome(self, cortex_id: str, heartbeat_interval_s: float) -> None:
        self.welcomed = (cortex_id, heartbeat_interval_s)

    def send(self, message: CortexMessage) -> bool:
        if self.takes:
            self.sent.append(message)
        return self.takes

    def close(self, code: int, because: str) -> None:
        self.closed = (code, because)

    def open_stream(self, head: bytes, body: bytes, handler: StreamHandler) -> Stream | None:
        self.opened += 1
        return None


class Silent:
    """A stream's handler that ignores everything."""

    def on_head(self, payload: bytes) -> None: ...

    def on_data(self, data: bytes) -> None: ...

    def on_end(self, payload: bytes) -> None: ...

    def on_reset(self, payload: bytes) -> None: ...

    def on_writable(self) -> None: ...
