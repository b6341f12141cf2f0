"""The APIs that callers speak, and what each side of helexa must know of one. Pure.

The gateway reads a request's head, passes bytes on, and speaks a dialect only where it answers by
itself: a refusal, a sign of life, the event that ends a broken stream. All else is the neuron's:
its `Interpreter` turns a request into a chat, and the chat's answer into the dialect.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from helexa.protocol import sse
from helexa.protocol.dialects import anthropic, openai, responses
from helexa.protocol.dialects.anthropic_answer import AnthropicInterpreter
from helexa.protocol.dialects.openai import RequestHead
from helexa.protocol.dialects.responses_answer import ResponsesInterpreter
from helexa.protocol.errors import Refusal, envelope
from helexa.protocol.inference import OpenHead, Usage
from helexa.protocol.workload import Operation


class Interpreter(Protocol):
    """One request of a dialect, on the neuron: to a chat, and its answer back. It has state."""

    problem: str
    """What is wrong with the chat's answer; "" while nothing is."""

    def chat(self, body: bytes) -> bytes:
        """Return the request as a chat completion's body; raises DialectError."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the chat's event stream; return the dialect's events for them."""
        ...

    def close(self, usage: Usage | None) -> bytes:
        """Return the last events of a whole stream."""
        ...

    def whole(self, body: bytes, usage: Usage | None) -> bytes:
        """Return the dialect's answer for a chat's whole answer; sets `problem` if it is none."""
        ...

    def error(self, status: int, body: bytes, request_id: str) -> tuple[int, bytes]:
        """Return the dialect's status and body for an error that a server told as OpenAI does."""
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API, as far as the gateway speaks it by itself."""

    name: str
    """In `OpenHead` and `Capabilities`."""
    read: Callable[[Operation, bytes], RequestHead | Refusal]
    """Checks a body and returns what routing needs of it."""
    done: bytes
    """What a whole stream ends with."""
    ending_at: Callable[[bytes], int]
    """Tells where in bytes that end with `done` a client takes the stream for whole; from there on
    they go out after the request was booked."""
    alive: bytes
    """An event that says nothing but that the stream lives, sent beside a comment."""
    status_of: Callable[[Refusal], int]
    envelope: Callable[[Refusal, str | None], bytes]
    """The body of a refusal: JSON in one line."""
    error_event: Callable[[bytes], bytes]
    """Makes the event that ends a broken stream out of such a body; no `done` follows it, and no
    clean end: every client takes that for success, and this event makes it raise."""
    answer_lines: Callable[[str], bytes]
    """Header lines that every answer has, made of the request's id."""
    interpreter: Callable[[Operation], Interpreter] | None = None
    """None where engines speak it themselves."""


def _no_lines(_request_id: str) -> bytes:
    return b""


def _last(event: bytes) -> Callable[[bytes], int]:
    """Return the place of a stream's last event where that is always the same."""
    return lambda data: len(data) - len(event)


OPENAI: Final = Dialect(
    name="openai",
    read=openai.read,
    done=sse.DONE,
    ending_at=_last(sse.DONE),
    alive=b"",
    status_of=lambda refusal: refusal.status,
    envelope=envelope,
    error_event=sse.event_of,
    answer_lines=_no_lines,
)
ANTHROPIC: Final = Dialect(
    name="anthropic",
    read=anthropic.read,
    done=anthropic.STOP,
    ending_at=_last(anthropic.STOP),
    alive=anthropic.PING,
    status_of=anthropic.status_of,
    envelope=anthropic.envelope,
    error_event=anthropic.error_event,
    answer_lines=anthropic.answer_lines,
    interpreter=AnthropicInterpreter,
)
RESPONSES: Final = Dialect(
    name="responses",
    read=responses.read,
    done=sse.DONE,
    ending_at=responses.ending_at,
    alive=b"",
    status_of=OPENAI.status_of,
    envelope=envelope,
    error_event=responses.error_event,
    answer_lines=_no_lines,
    interpreter=ResponsesInterpreter,
)
DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {dialect.name: dialect for dialect in (OPENAI, ANTHROPIC, RESPONSES)}
)
DIALECT_OF: Final[Mapping[Operation, Dialect]] = MappingProxyType(
    {
        **dict.fromkeys(Operation, OPENAI),
        Operation.MESSAGES: ANTHROPIC,
        Operation.COUNT_TOKENS: ANTHROPIC,
        Operation.RESPONSES: RESPONSES,
    }
)
"""Which dialect a route's requests are in."""


def in_dialect(head: OpenHead, dialect: Dialect) -> OpenHead:
    """Return the head of a request that its neuron has to translate into a chat."""
    counts = head.operation is Operation.COUNT_TOKENS
    operation = head.operation if counts else Operation.CHAT
    return msgspec.structs.replace(head, operation=operation, dialect=dialect.name)
