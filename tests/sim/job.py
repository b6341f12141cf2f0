"""A request as a neuron sees it: seat, first token, the rest; and both ends of its stream."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.protocol.inference import OpenHead, Reset, ResponseHead, Trailer, Usage
from helexa.protocol.tunnel import StreamHandler
from helexa.protocol.workload import Operation

if TYPE_CHECKING:
    from tests.sim.link import Link
    from tests.sim.neuron import SimNeuron

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(OpenHead).decode
HEAD: Final = _encode(ResponseHead(content_type="text/event-stream"))
DONE: Final = b"data: [DONE]\n\n"
LOST: Final = _encode(
    Reset(code=ErrorCode.UPSTREAM_CONNECTION_ERROR, message="lost", retry_elsewhere=True)
)


def chunk(number: int) -> bytes:
    """Return one event of an answer; its words are numbered, so that none can be missed."""
    return b'data: {"choices":[{"index":0,"delta":{"content":"w%d "}}]}\n\n' % number


class SimStream:
    """The gateway's end of a request's stream."""

    def __init__(self, link: "Link", handler: StreamHandler) -> None:
        self.link = link
        self.handler: StreamHandler | None = handler
        self.job: Job | None = None

    def reset(self, payload: bytes = b"") -> None:
        """The gateway gives the request up."""
        self.handler = None
        if self.job is not None:
            self.link.down(self.job.cancel, control=False)
        self.link.neuron.world.cortex.forget_stream(self)

    def consumed(self, _size: int) -> None:
        """There is no flow control in this world."""

    def deliver(self, what: str, payload: bytes) -> None:
        """Something of the answer arrived at the gateway."""
        handler = self.handler
        if handler is None:
            return
        if what in {"on_end", "on_reset"}:
            self.handler = None
            self.link.neuron.world.cortex.forget_stream(self)
        getattr(handler, what)(payload)


class Job:
    """One request on one neuron. `words` long, `service_s` from its seat to its end."""

    def __init__(
        self, neuron: "SimNeuron", link: "Link", stream: SimStream, head: bytes, ticket: str
    ) -> None:
        opened = _decode(head)
        self.neuron, self.link, self.stream, self.ticket = neuron, link, stream, ticket
        self.model_id = ModelId(opened.model)
        self.is_chat = opened.operation is Operation.CHAT
        self.request_id = opened.request_id
        self.over = False
        self.words, self.service_s = neuron.world.callers.size_of(opened.request_id)
        self.said = 0
        self.since_s = neuron.world.clock.now
        stream.job = self

    def arrive(self) -> None:
        """It reached the neuron, if the neuron still knows the connection."""
        if self.neuron.link is self.link and self.neuron.up:
            self.neuron.take_job(self)

    def begin(self) -> None:
        """It has a seat: the first half after a while, the rest at the end."""
        self._later(self.service_s * 0.3, self._first)
        self._later(self.service_s, self._last)

    def cancel(self) -> None:
        """The gateway does not want it any more."""
        if not self.over:
            self.neuron.end_job(self)

    def refused(self, refusal: Refusal, *, elsewhere: bool = True) -> None:
        """It never reached the engine."""
        self._reset(refusal.code, refusal.because, elsewhere=elsewhere)

    def crashed(self) -> None:
        """Its engine is gone."""
        self._reset(ErrorCode.ENGINE_CRASH, "the engine crashed", elsewhere=self.said == 0)

    def _reset(self, code: ErrorCode, because: str, *, elsewhere: bool) -> None:
        if self.over:
            return
        reset = Reset(code=code.value, message=because, retry_elsewhere=elsewhere)
        self._up("on_reset", _encode(reset))
        self.neuron.end_job(self)

    def _first(self) -> None:
        self._up("on_head", HEAD)
        self._words(self.words // 2)

    def _last(self) -> None:
        self._words(self.words)
        self._up("on_data", DONE)
        usage = Usage(prompt_tokens=3, completion_tokens=self.words)
        self._up("on_end", _encode(Trailer(usage=usage, finish_reason="stop")))
        self.neuron.end_job(self)

    def _words(self, until: int) -> None:
        self._up("on_data", b"".join(chunk(n) for n in range(self.said, until)))
        self.said = until

    def _up(self, what: str, payload: bytes) -> None:
        self.link.up(self.stream.deliver, what, payload, control=False)

    def _later(self, seconds: float, action: Any) -> None:
        self.neuron._later(seconds, self._if_open, action)

    def _if_open(self, action: Any) -> None:
        if not self.over:
            action()
