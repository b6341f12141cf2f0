"""A chat's answer → Anthropic's message: its events, or all of it at once. Pure, bounded.

Blocks follow one another, as Anthropic's do: what a chat says of reasoning, text and tool calls
opens a block of its kind and closes the one before.
"""

from typing import Any, Final

import msgspec

from helexa.protocol.dialects import anthropic
from helexa.protocol.dialects.anthropic_chat import chat_body
from helexa.protocol.dialects.chat_shapes import (
    JSON_ERRORS,
    Call,
    ChatReader,
    Choice,
    Chunk,
    Message,
    decode_chunk,
)
from helexa.protocol.inference import Usage
from helexa.protocol.workload import Operation

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_TEXT: Final = "text"
_THINKING: Final = "thinking"
_encode: Final = msgspec.json.Encoder().encode
_EMPTY: Final = {
    _TEXT: {"type": "text", "text": ""},
    _THINKING: {"type": "thinking", "thinking": "", "signature": ""},
}


class AnthropicInterpreter:
    """One request of the Messages API. `COUNT_TOKENS` needs a chat, too, but no stream."""

    def __init__(self, operation: Operation) -> None:
        self._counts = operation is Operation.COUNT_TOKENS
        self._shows_thinking = False
        self._reader = ChatReader()
        self._begun = False
        self._block = -1
        self._kind = ""
        """Of the open block: text, thinking, or a tool call's index as a text; "" for none."""
        self._calls: set[int] = set()
        self._finish = ""
        self._stopped_at: str | None = None
        self.problem = ""

    def chat(self, body: bytes) -> bytes:
        """Return the request as a chat completion's body; raises DialectError."""
        chat, self._shows_thinking = chat_body(body)
        return chat

    # ── streamed ──────────────────────────────────────────────────────────────────────────────

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the chat's event stream; return events for them."""
        return self._told(self._reader.read(data))

    def close(self, usage: Usage | None) -> bytes:
        """Return the last events of a whole stream; sets `problem` where nothing finished it."""
        out = [self._told(self._reader.rest(b""))]
        if not self._finish and not self.problem:
            self.problem = "the answer ended without a reason"
        if self.problem:
            return b""
        out.append(self._closed())
        reason, stopped_at = _stop(self._finish, self._stopped_at, called=bool(self._calls))
        delta = {"stop_reason": reason, "stop_sequence": stopped_at}
        event = {"type": "message_delta", "delta": delta, "usage": _usage(usage)}
        out += (_event("message_delta", event), anthropic.STOP)
        return b"".join(out)

    def _told(self, pieces: Any) -> bytes:
        out: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                out += (piece, anthropic.PING)  # a comment: for this API's clients, an event
            else:
                self._take(piece, out)
            if self.problem:
                break
        self.problem = self.problem or self._reader.problem
        return b"".join(out)

    def _take(self, chunk: Chunk, out: list[bytes]) -> None:
        if not self._begun:
            self._begun = True
            message = _message(chunk, [], None, None, None)
            out.append(_event("message_start", {"type": "message_start", "message": message}))
        for choice in chunk.choices:
            if choice.delta is not None:
                self._take_delta(choice.delta, out)
            self._note_finish(choice)

    def _note_finish(self, choice: Choice) -> None:
        if choice.finish_reason:
            self._finish = choice.finish_reason
            self._stopped_at = _text_or_none(choice.stop_reason)

    def _take_delta(self, delta: Message, out: list[bytes]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought and self._shows_thinking:
            self._open(_THINKING, _EMPTY[_THINKING], out)
            self._add({"type": "thinking_delta", "thinking": thought}, out)
        text = delta.content or delta.refusal
        if text:
            self._open(_TEXT, _EMPTY[_TEXT], out)
            self._add({"type": "text_delta", "text": text}, out)
        for call in delta.tool_calls or ():
            self._take_call(call, out)

    def _take_call(self, call: Call, out: list[bytes]) -> None:
        kind = str(call.index)
        if kind != self._kind:
            if call.index in self._calls:
                self.problem = "two tool calls are told at the same time"
                return
            self._calls.add(call.index)
            self._open(kind, _use(call, {}), out)
        arguments = call.function.arguments if call.function is not None else None
        if arguments:
            self._add({"type": "input_json_delta", "partial_json": arguments}, out)

    def _open(self, kind: str, block: dict[str, Any], out: list[bytes]) -> None:
        if kind == self._kind:
            return
        out.append(self._closed())
        self._kind = kind
        self._block += 1
        event = {"type": "content_block_start", "index": self._block, "content_block": block}
        out.append(_event("content_block_start", event))

    def _add(self, delta: dict[str, str], out: list[bytes]) -> None:
        event = {"type": "content_block_delta", "index": self._block, "delta": delta}
        out.append(_event("content_block_delta", event))

    def _closed(self) -> bytes:
        """Return the end of the block that is open, if one is."""
        if not self._kind:
            return b""
        self._kind = ""
        event = {"type": "content_block_stop", "index": self._block}
        return _event("content_block_stop", event)

    # ── in one piece ──────────────────────────────────────────────────────────────────────────

    def whole(self, body: bytes, usage: Usage | None) -> bytes:
        """Return the message for a chat's whole answer; sets `problem` if it is none."""
        if self._counts:
            return body
        try:
            answer = decode_chunk(body)
            choice = answer.choices[0]
            message = choice.message
        except (*JSON_ERRORS, IndexError):
            message = None
        if message is None:
            self.problem = "the answer is no chat's"
            return b""
        content = self._content(message, cut=choice.finish_reason == "length")
        if self.problem:
            return b""
        called = bool(message.tool_calls)
        at = _text_or_none(choice.stop_reason)
        reason, stopped_at = _stop(choice.finish_reason or "", at, called=called)
        return _encode(_message(answer, content, reason, stopped_at, usage))

    def _content(self, message: Message, *, cut: bool) -> list[dict[str, Any]]:
        content: list[dict[str, Any]] = []
        thought = message.reasoning_content or message.reasoning
        if thought and self._shows_thinking:
            content.append({**_EMPTY[_THINKING], "thinking": thought})
        text = message.content or message.refusal
        if text:
            content.append({"type": "text", "text": text})
        for number, call in enumerate(message.tool_calls or ()):
            call.index = number
            arguments = (call.function.arguments if call.function is not None else None) or "{}"
            try:
                given = msgspec.json.decode(arguments)
            except JSON_ERRORS:
                given = {} if cut else None
            if not isinstance(given, dict):
                self.problem = "a tool call's arguments are no JSON object"
                return []
            content.append(_use(call, given))
        return content

    # ── errors ────────────────────────────────────────────────────────────────────────────────

    def error(self, status: int, body: bytes, request_id: str) -> tuple[int, bytes]:
        """Return status and body for an error that a server told as OpenAI does."""
        try:
            told = msgspec.json.decode(body, type=_ErrorBody).error
            message = told if isinstance(told, str) else told.message
        except JSON_ERRORS:
            message = ""
        message = message or "the model's server refused the request"
        return status, anthropic.error_body(anthropic.type_of(status), message, request_id)


class _Error(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error | str


def _event(name: str, body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(body))


def _message(
    chunk: Chunk,
    content: list[dict[str, Any]],
    reason: str | None,
    stopped_at: str | None,
    usage: Usage | None,
) -> dict[str, Any]:
    return {
        "id": "msg_" + chunk.id.removeprefix("chatcmpl-"),
        "type": "message",
        "role": "assistant",
        "model": chunk.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": stopped_at,
        "usage": _usage(usage),
    }


def _use(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    name = call.function.name if call.function is not None else None
    return {
        "type": "tool_use",
        "id": call.id or f"toolu_{call.index}",
        "name": name or "",
        "input": given,
    }


def _stop(finish: str, stopped_at: str | None, *, called: bool) -> tuple[str, str | None]:
    """Return Anthropic's stop reason and stop sequence; most engines do not tell the latter."""
    if finish == "stop" and called:
        return "tool_use", None
    if finish == "stop" and stopped_at is not None:
        return "stop_sequence", stopped_at
    return _STOP_REASONS.get(finish, "end_turn"), None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _usage(usage: Usage | None) -> dict[str, int]:
    """Return a count as Anthropic's: what came from the cache is not among the input tokens."""
    if usage is None:
        usage = Usage(prompt_tokens=0, completion_tokens=0)
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
