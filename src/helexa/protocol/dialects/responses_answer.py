"""A chat's answer → a Response of OpenAI's API: its events, or all of it at once. Pure, bounded.

Items follow one another: what a chat says of reasoning, text and calls opens an item of its kind
and completes the one before. Every event has its `type` and the next `sequence_number`.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from helexa.protocol.dialects.chat_shapes import (
    JSON_ERRORS,
    Call,
    ChatReader,
    Chunk,
    Message,
    decode_chunk,
)
from helexa.protocol.dialects.responses_chat import chat_body
from helexa.protocol.inference import Usage
from helexa.protocol.sse import DONE
from helexa.protocol.workload import Operation

SAID_BYTES_MAX: Final = 32 << 20
"""Of a streamed answer, whose last events say all of it again."""
_ECHOED: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Fields of the request that its answer repeats, and what they are where the caller sent none."""
_FIXED: Final[dict[str, Any]] = {
    "background": False,
    "error": None,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
}
_CUT: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_MESSAGE, _REASONING = "message", "reasoning"
_encode: Final = msgspec.json.Encoder().encode


class ResponsesInterpreter:
    """One request of the Responses API."""

    def __init__(self, _operation: Operation) -> None:
        self._fields: dict[str, Raw] = {}
        self._reader = ChatReader()
        self._chunk: Chunk | None = None
        self._sequence = 0
        self._items: list[dict[str, Any]] = []
        self._kind = ""
        """Of the open item: message, reasoning, or a call's index as a text; "" for none."""
        self._said: list[str] = []
        self._said_bytes = 0
        self._calls: set[int] = set()
        self._finish = ""
        self.problem = ""

    def chat(self, body: bytes) -> bytes:
        """Return the request as a chat completion's body; raises DialectError."""
        chat, self._fields = chat_body(body)
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
        if self.problem or self._chunk is None:
            return b""
        self._close_item(out)
        whole = self._response(self._chunk, self._finish, self._items, usage)
        self._say(f"response.{whole['status']}", out, response=whole)
        return b"".join(out) + DONE

    def _told(self, pieces: Iterable[Chunk | bytes]) -> bytes:
        out: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, bytes):
                out.append(piece)
            else:
                self._take(piece, out)
            if self.problem:
                break
        self.problem = self.problem or self._reader.problem
        return b"".join(out)

    def _say(self, kind: str, out: list[bytes], **fields: Any) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event)))

    def _take(self, chunk: Chunk, out: list[bytes]) -> None:
        if self._chunk is None:
            self._chunk = chunk
            begun = self._response(chunk, None, [], None)
            self._say("response.created", out, response=begun)
            self._say("response.in_progress", out, response=begun)
        for choice in chunk.choices:
            if choice.delta is not None:
                self._take_delta(choice.delta, out)
            self._finish = choice.finish_reason or self._finish

    def _take_delta(self, delta: Message, out: list[bytes]) -> None:
        thought = delta.reasoning_content or delta.reasoning
        if thought:
            self._open(_REASONING, out)
            self._add("response.reasoning_text.delta", thought, out, content_index=0)
        text = delta.content or delta.refusal
        if text:
            self._open(_MESSAGE, out)
            self._add("response.output_text.delta", text, out, content_index=0, logprobs=[])
        for call in delta.tool_calls or ():
            self._take_call(call, out)

    def _take_call(self, call: Call, out: list[bytes]) -> None:
        if str(call.index) != self._kind:
            if call.index in self._calls:
                self.problem = "two tool calls are told at the same time"
                return
            self._calls.add(call.index)
            self._open(str(call.index), out, call)
        arguments = call.function.arguments if call.function is not None else None
        if arguments:
            self._add("response.function_call_arguments.delta", arguments, out)

    def _add(self, kind: str, said: str, out: list[bytes], **fields: Any) -> None:
        self._said.append(said)
        self._said_bytes += len(said)
        if self._said_bytes > SAID_BYTES_MAX:
            self.problem = "the answer is too long"
        self._say(kind, out, **self._place(), **fields, delta=said)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _open(self, kind: str, out: list[bytes], call: Call | None = None) -> None:
        if kind == self._kind:
            return
        self._close_item(out)
        self._kind = kind
        item = _begun(kind, self._id(), call)
        self._items.append(item)
        place = len(self._items) - 1
        self._say("response.output_item.added", out, output_index=place, item=item)
        if call is None:
            where = {**self._place(), "content_index": 0}
            self._say("response.content_part.added", out, **where, part=_part(kind, ""))

    def _close_item(self, out: list[bytes]) -> None:
        """Complete the item that is open, if one is."""
        if not self._kind:
            return
        kind, said = self._kind, "".join(self._said)
        self._kind = ""
        self._said.clear()
        where = self._place()
        item = self._items[-1]
        if item["type"] == "function_call":
            self._say("response.function_call_arguments.done", out, **where, arguments=said)
            item = {**item, "arguments": said}
        else:
            name = "output_text" if kind == _MESSAGE else "reasoning_text"
            more: dict[str, Any] = {"logprobs": []} if kind == _MESSAGE else {}
            self._say(f"response.{name}.done", out, **where, content_index=0, text=said, **more)
            part = _part(kind, said)
            self._say("response.content_part.done", out, **where, content_index=0, part=part)
            item = {**item, "content": [part]}
        item["status"] = "incomplete" if self._finish in _CUT else "completed"
        self._items[-1] = item
        place = where["output_index"]
        self._say("response.output_item.done", out, output_index=place, item=item)

    # ── in one piece ──────────────────────────────────────────────────────────────────────────

    def whole(self, body: bytes, usage: Usage | None) -> bytes:
        """Return the Response for a chat's whole answer; sets `problem` if it is none."""
        try:
            answer = self._chunk = decode_chunk(body)
            choice = answer.choices[0]
            message = choice.message
        except (*JSON_ERRORS, IndexError):
            message = None
        if message is None:
            self.problem = "the answer is no chat's"
            return b""
        finish = choice.finish_reason or "stop"
        for kind, said in (
            (_REASONING, message.reasoning_content or message.reasoning),
            (_MESSAGE, message.content or message.refusal),
        ):
            if said:
                item = _begun(kind, self._id(), None)
                self._items.append({**item, "content": [_part(kind, said)]})
        for number, call in enumerate(message.tool_calls or ()):
            call.index = number
            item = _begun(str(number), self._id(), call)
            arguments = call.function.arguments if call.function is not None else None
            self._items.append({**item, "arguments": arguments or "{}"})
        for item in self._items:
            item["status"] = "incomplete" if finish in _CUT else "completed"
        return _encode(self._response(answer, finish, self._items, usage))

    def error(self, status: int, body: bytes, _request_id: str) -> tuple[int, bytes]:
        """Return a server's error as it came: this API tells errors as a chat's does."""
        return status, body

    def _id(self) -> str:
        chunk = self._chunk or Chunk()
        return f"{chunk.id.removeprefix('chatcmpl-')}_{len(self._items)}"

    def _response(
        self, chunk: Chunk, finish: str | None, items: list[dict[str, Any]], usage: Usage | None
    ) -> dict[str, Any]:
        """Return the whole object; `finish` is None while it is being made."""
        cut = _CUT.get(finish or "")
        status = "in_progress" if finish is None else "incomplete" if cut else "completed"
        return {
            "id": "resp_" + chunk.id.removeprefix("chatcmpl-"),
            "object": "response",
            "created_at": chunk.created,
            "completed_at": chunk.created if status == "completed" else None,
            "status": status,
            "incomplete_details": {"reason": cut} if cut else None,
            "model": chunk.model,
            "output": items,
            "usage": None if finish is None else _usage(usage),
            **_FIXED,
            **{name: self._echo(name, default) for name, default in _ECHOED.items()},
        }

    def _echo(self, name: str, default: Any) -> Any:
        raw = self._fields.get(name)
        return default if raw is None or bytes(raw) == b"null" else raw


def _begun(kind: str, number: str, call: Call | None) -> dict[str, Any]:
    """Return an item that has nothing in it yet."""
    if kind == _REASONING:
        return {"id": f"rs_{number}", "type": kind, "status": "in_progress", "summary": []}
    if call is None:
        item = {"id": f"msg_{number}", "type": kind, "status": "in_progress"}
        return {**item, "role": "assistant", "content": []}
    name = call.function.name if call.function is not None else None
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "in_progress",
        "call_id": call.id or f"call_{call.index}",
        "name": name or "",
        "arguments": "",
    }


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == _REASONING:
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        usage = Usage(prompt_tokens=0, completion_tokens=0)
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
