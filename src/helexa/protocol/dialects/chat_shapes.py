"""A chat's answer as engines' translations give it, read by those who tell it in other words. Pure.

Only what a dialect can say is decoded; the rest of a chunk is skipped.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeVar

import msgspec

from helexa.protocol.sse import EventSplitter, EventTooLargeError, data_of

_DONE_PAYLOAD: Final = b"[DONE]"
JSON_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError)


_T = TypeVar("_T")


class DialectError(ValueError):
    """A request that cannot be said as a chat; `param` is the field that is to blame."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Function(msgspec.Struct, gc=False):
    """Part of a tool call's function, or all of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """Part of one tool call, `index` says of which; in a whole answer all of it."""

    index: int = 0
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """What a chunk adds to the answer, or all of it."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    """One choice; `stop_reason` is vLLM's: the text at which the answer stopped."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class Chunk(msgspec.Struct):
    """One chunk of a streamed answer, or a whole one."""

    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    error: Any = None


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode


def read_as(raw: bytes, shape: type[_T], where: str) -> _T:
    """Return a part of a request as a value of a shape; raises DialectError, which names it."""
    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        param = where + path.rstrip("`")
        raise DialectError(f"{param}: {reason}"[:500], param) from None


def joined(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return a message's parts as one text where they are nothing else: every engine takes that."""
    if any(part["type"] != "text" for part in parts):
        return parts
    return "\n".join(part["text"] for part in parts)


class ChatReader:
    """Cuts a chat's event stream into chunks, however it was split; comments come as they are."""

    __slots__ = ("_splitter", "problem")

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self.problem = ""
        """Why the stream cannot be read any further; "" while it can."""

    def read(self, data: bytes) -> Iterator[Chunk | bytes]:
        """Yield each chunk, and each comment as its bytes, that `data` completes."""
        try:
            events = self._splitter.feed(data)
        except EventTooLargeError as error:
            self.problem = str(error)
            return
        for event in events:
            if event.startswith(b":"):
                yield event
                continue
            payload = data_of(event)
            if payload is None or payload == _DONE_PAYLOAD:
                continue
            try:
                chunk = decode_chunk(payload)
            except JSON_ERRORS:
                self.problem = "an event is no chunk of a chat"
                return
            if chunk.error is not None:
                self.problem = "the model's server reported an error in its answer"
                return
            yield chunk

    def rest(self, data: bytes) -> Iterator[Chunk | bytes]:
        """Yield what the last bytes of a stream complete, also where no blank line ends them."""
        yield from self.read(data)
        if not self.problem and self._splitter.rest.strip():
            yield from self.read(b"\n\n")
