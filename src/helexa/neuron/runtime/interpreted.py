"""An engine's translation whose answer goes on to be told in the caller's dialect."""

from collections.abc import Mapping
from typing import Final

from helexa.model_runtime.interfaces import Ending, Failure, Translation
from helexa.protocol.dialects.dialect import Interpreter
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import ResponseHead, Usage

WHOLE_BYTES_MAX: Final = 64 << 20
_EVENTS: Final = "text/event-stream"


class Interpreted:
    """A `Translation` around a `Translation`: OpenAI's bytes in, those of a dialect out."""

    __slots__ = (
        "_collected", "_inner", "_interpreter", "_request_id", "_stream", "failure", "head",
        "produced",
    )  # fmt: skip

    def __init__(
        self, inner: Translation, interpreter: Interpreter, request_id: str, *, stream: bool
    ) -> None:
        self._inner = inner
        self._interpreter = interpreter
        self._request_id = request_id
        self._stream = stream
        self._collected = bytearray()
        """Of an answer that can only be told once it is whole."""
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status."""
        self._inner.on_head(status, headers)
        self._follow()

    def on_data(self, data: bytes) -> bytes:
        """Return the dialect's events for what the engine's bytes say."""
        out = self._inner.on_data(data)
        self._follow()
        return self._take(out)

    def on_end(self, *, complete: bool) -> Ending:
        """Return the end of the answer in the dialect, or why it is not whole."""
        ending = self._inner.on_end(complete=complete)
        self._follow()
        if ending.failure is not None:
            self.failure = ending.failure
            return ending
        out = self._take(ending.data)
        if self.failure is None:
            out += self._last(ending.usage)
        return Ending(out, ending.usage, ending.finish_reason, self.failure)

    def _follow(self) -> None:
        self.failure = self.failure or self._inner.failure
        self.produced = self._inner.produced
        head = self._inner.head
        if self.head is None and head is not None and self._stream and head.status == 200:
            if head.content_type.startswith(_EVENTS):
                self.head = head
            else:
                self._garbage("the answer is no stream")

    def _take(self, data: bytes) -> bytes:
        if not data or self.failure is not None:
            return b""
        if self.head is None:
            self._collected += data
            if len(self._collected) > WHOLE_BYTES_MAX:
                self._garbage("the answer is too large")
            return b""
        told = self._interpreter.feed(data)
        if self._interpreter.problem:
            self._garbage(self._interpreter.problem)
        return told

    def _last(self, usage: Usage | None) -> bytes:
        interpreter = self._interpreter
        if self.head is not None:
            told = interpreter.close(usage)
        else:
            head = self._inner.head or ResponseHead()
            body = bytes(self._collected)
            status = head.status
            if status == 200:
                told = interpreter.whole(body, usage)
            else:
                status, told = interpreter.error(status, body, self._request_id)
            self.head = ResponseHead(status=status, retry_after_s=head.retry_after_s)
        if interpreter.problem:
            self._garbage(interpreter.problem)
        return told

    def _garbage(self, problem: str) -> None:
        text = "the engine's answer could not be understood"
        self.failure = Failure(ErrorCode.ENGINE_GARBAGE, text, detail=problem)
