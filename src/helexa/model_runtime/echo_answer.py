"""What the echo server answers, as bytes and values: no clock, no connection. Pure."""

import base64
import struct
from typing import Any, Final

import msgspec

from helexa.model_runtime.echo_text import pieces, tokens_said, vector_of

CREATED: Final = 1_700_000_000
TOKENS_MAX: Final = 1 << 20
LONG_LINE_BYTES: Final = 10 << 20
_NEVER: Final = 1 << 30
_encode: Final = msgspec.json.Encoder().encode


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """How the server behaves, and how it misbehaves; a token number of None is never."""

    tokens_per_second: float = 0.0
    first_token_delay_ms: int = 0
    default_tokens: int = 16
    context_tokens: int = 8192
    error_status: int | None = None
    crash_on_prompt: str = ""
    stall_at_token: int | None = None
    crash_at_token: int | None = None
    garbage_at_token: int | None = None
    garbage: str = "invalid_utf8"
    truncate_at_token: int | None = None

    def at_tokens(self, tokens: int) -> tuple[int, ...]:
        """Return the token numbers where something is to happen; `tokens` if there are none."""
        return tuple(
            _NEVER if at is None else at
            for at in (
                self.stall_at_token,
                self.crash_at_token,
                self.garbage_at_token,
                self.truncate_at_token,
                tokens,
            )
        )

    def strikes(self, sent: int) -> bool:
        """Tell whether a fault is due once `sent` tokens were sent."""
        return sent in (
            self.stall_at_token,
            self.crash_at_token,
            self.garbage_at_token,
            self.truncate_at_token,
        )


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What the server makes of a request body."""

    text: str
    prefix: str
    """Of a trailing assistant message, which is continued."""
    tokens: int
    bounded: bool
    stream: bool
    include_usage: bool
    inputs: tuple[str, ...] = ()
    base64: bool = False


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Request(msgspec.Struct):
    messages: list[dict[str, Any]] = []
    prompt: Any = None
    input: Any = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool = False
    stream_options: _Options | None = None
    encoding_format: str = "float"
    n: int | None = None


def read_prompt(body: bytes, faults: Faults) -> Prompt | str:
    """Return what a body asks for, or a sentence on what is wrong with it."""
    try:
        request = msgspec.json.decode(body, type=_Request)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return str(error)
    if request.n not in (None, 1):
        return "Field 'n': only 1 is possible"
    bound = request.max_completion_tokens
    bound = request.max_tokens if bound is None else bound
    texts = [_text_of(message.get("content")) for message in request.messages]
    continues = bool(texts) and request.messages[-1].get("role") == "assistant"
    inputs = _inputs_of(request.input)
    return Prompt(
        text=" ".join(filter(None, (*texts, _text_of(request.prompt), *inputs))),
        prefix=texts[-1] if continues else "",
        tokens=min(max(faults.default_tokens if bound is None else bound, 0), TOKENS_MAX),
        bounded=bound is not None,
        stream=request.stream,
        include_usage=request.stream_options is not None and request.stream_options.include_usage,
        inputs=inputs,
        base64=request.encoding_format == "base64",
    )


def _text_of(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in content
        )
    return ""


def _inputs_of(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        return ()
    if value and isinstance(value[0], int):
        return (repr(value),)
    return tuple(each if isinstance(each, str) else repr(each) for each in value)


def embeddings(prompt: Prompt, model_id: str) -> dict[str, Any]:
    """Return the vectors of all inputs as OpenAI tells them."""
    data = []
    for index, text in enumerate(prompt.inputs):
        vector: object = vector_of(text)
        if prompt.base64:
            packed = struct.pack(f"<{len(vector_of(text))}f", *vector_of(text))
            vector = base64.b64encode(packed).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    words = sum(len(text.split()) for text in prompt.inputs)
    usage = {"prompt_tokens": words, "total_tokens": words}
    return {"object": "list", "model": model_id, "usage": usage, "data": data}


class Answer:
    """One answer, token by token."""

    def __init__(self, prompt: Prompt, request_id: str, model_id: str, *, chat: bool) -> None:
        # Where the caller sets no bound, an answer is as long whether it was cut or not.
        said = 0 if prompt.bounded else tokens_said(request_id, prompt.prefix)
        self._pieces = pieces(request_id, max(prompt.tokens - said, 0), prompt.prefix)
        self._prompt = prompt
        self._chat = chat
        self._model_id = model_id
        self._id = ("chatcmpl-" if chat else "cmpl-") + request_id
        self._finish = "length" if prompt.bounded else "stop"
        self.stream = prompt.stream
        self.tokens = len(self._pieces)
        mark = "\x00"
        head, _, tail = self._event({"content": mark}, mark).partition(_encode(mark))
        self._head, self._tail = head, tail

    def opening(self) -> bytes:
        """Return the event before the first token."""
        return self._event({"role": "assistant", "content": ""}, "") if self._chat else b""

    def token_events(self, start: int, stop: int) -> bytes:
        """Return the events of tokens `start` to `stop`."""
        head, tail = self._head, self._tail
        return b"".join(head + _encode(piece) + tail for piece in self._pieces[start:stop])

    def closing(self) -> bytes:
        """Return the events that end the stream."""
        events = self._event({}, "", self._finish)
        if self._prompt.include_usage:
            events += self._wrapped({"choices": [], "usage": self._usage()})
        return events + b"data: [DONE]\n\n"

    def whole(self) -> dict[str, Any]:
        """Return the answer as one object."""
        text = "".join(self._pieces)
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": self._finish}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return self._fields({"choices": [choice], "usage": self._usage()}, chunk=False)

    def garbage(self, kind: str) -> bytes:
        """Return bytes that no client should ever see."""
        if kind == "invalid_utf8":
            return self._head + b'"\xff\xfe\xc3"' + self._tail
        if kind == "half_json":
            return self._head[: len(self._head) // 2] + b"\n\n"
        if kind == "long_line":
            return b"data: " + b"x" * LONG_LINE_BYTES
        if kind == "wrong_shape":
            return b'data: {"choices": {"delta": 7}, "id": []}\n\n'
        return (
            self._head.replace(self._id.encode(), b"chatcmpl-somebody-else") + b'"x"' + self._tail
        )

    def _event(self, delta: dict[str, Any], text: str, finish: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
        choice.update({"delta": delta} if self._chat else {"text": text})
        return self._wrapped({"choices": [choice]})

    def _wrapped(self, fields: dict[str, Any]) -> bytes:
        return b"data: " + _encode(self._fields(fields, chunk=True)) + b"\n\n"

    def _fields(self, fields: dict[str, Any], *, chunk: bool) -> dict[str, Any]:
        kind = "text_completion" if not self._chat else "chat.completion"
        return {
            "id": self._id,
            "object": f"{kind}.chunk" if chunk and self._chat else kind,
            "created": CREATED,
            "model": self._model_id,
            **fields,
        }

    def _usage(self) -> dict[str, int]:
        words = len(self._prompt.text.split())
        return {
            "prompt_tokens": words,
            "completion_tokens": self.tokens,
            "total_tokens": words + self.tokens,
        }
