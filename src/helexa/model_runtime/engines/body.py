"""A JSON request body of which only a few top-level fields are read or set. Pure.

Everything else stays the bytes that the caller sent: numbers keep their digits, messages are
neither parsed nor rebuilt.
"""

from typing import Any, Final

import msgspec

from helexa.model_runtime.interfaces import Failure
from helexa.protocol.errors import ErrorCode

_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()
_JSON_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError)


class Body:
    """The top-level fields of a JSON object; raises BodyError for anything else."""

    __slots__ = ("_fields",)

    def __init__(self, data: bytes) -> None:
        try:
            data.decode()
            self._fields = _fields.decode(data)
        except _JSON_ERRORS as error:
            raise BodyError(
                refused(f"the body is not a JSON object: {error}", ErrorCode.MALFORMED_JSON)
            ) from None

    def get(self, name: str) -> Any:
        """Return a field's value, or None where it is absent or null.

        Raises BodyError if the value cannot be read (nested too deeply, for one).
        """
        raw = self._fields.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw)
        except _JSON_ERRORS as error:
            raise BodyError(refused(f"{name!r} cannot be read: {error}")) from None

    def integer(self, name: str) -> int | None:
        """Return a whole number, or None where the field is absent or null."""
        value = self.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise BodyError(refused(f"{name!r} must be a whole number"))
        return value

    def raw(self, name: str) -> msgspec.Raw | None:
        """Return a field's bytes as the caller sent them, or None where it is absent."""
        return self._fields.get(name)

    def set(self, name: str, value: object) -> None:
        """Set a field."""
        self._fields[name] = msgspec.Raw(_encoder.encode(value))

    def drop(self, *names: str) -> None:
        """Remove fields, if they are there."""
        for name in names:
            self._fields.pop(name, None)

    def encode(self) -> bytes:
        """Return the body as JSON."""
        return _encoder.encode(self._fields)


class BodyError(Exception):
    """The caller's body cannot be sent to the engine; `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def refused(message: str, code: ErrorCode = ErrorCode.INVALID_REQUEST_BODY) -> Failure:
    """Return a failure that is the caller's."""
    return Failure(code, message, blames_engine=False)


NO_FUNCTIONS: Final = refused(
    "'functions' is not supported by this model; say it with 'tools'", ErrorCode.NOT_SUPPORTED
)
"""llama.cpp and vLLM would just drop OpenAI's older way to name tools."""


def clamp_tokens(body: Body, context_tokens: int | None) -> None:
    """Leave exactly one bound on new tokens, `max_tokens`, never above the model's context.

    `max_completion_tokens` beats `max_tokens`, and that llama.cpp's own `n_predict`. A negative
    bound means "no bound" to llama.cpp and is treated so.
    """
    asked = None
    for name in ("max_completion_tokens", "max_tokens", "n_predict"):
        asked = body.integer(name)
        if asked is not None:
            break
    body.drop("max_completion_tokens", "max_tokens", "n_predict")
    if asked is not None and asked < 0:
        asked = None
    if context_tokens is not None:
        asked = context_tokens if asked is None else min(asked, context_tokens)
    if asked is not None:
        body.set("max_tokens", asked)


def is_plain_chat(body: Body) -> bool:
    """Tell whether the answer to a chat is one text and nothing else, as far as one sees here.

    Only such a stream is continued elsewhere when it breaks.
    """
    if (body.integer("n") or 1) > 1 or body.get("logprobs"):
        return False
    tools = body.raw("tools")
    if tools is not None and bytes(tools) not in {b"null", b"[]"}:
        return False
    form = body.get("response_format")
    return not isinstance(form, dict) or form.get("type") == "text"


def trailing_assistant_text(body: Body) -> str | None:
    """Return the text of a conversation's last message if it is the assistant's, else None.

    Such a message is to be continued, not answered. One that carries tool calls, or no text, is
    not.
    """
    raw = body.raw("messages")
    if raw is None:
        return None
    try:
        messages = msgspec.json.decode(raw, type=list[msgspec.Raw])
        if not messages:
            return None
        last = msgspec.json.decode(messages[-1], type=_Message)
    except _JSON_ERRORS:
        return None  # not a conversation as we know it: the engine says what is wrong with it
    if last.role != "assistant" or last.tool_calls:
        return None
    if isinstance(last.content, str):
        return last.content or None
    parts = [part.text for part in last.content or () if part.type == "text"]
    return "\n".join(parts) or None  # llama.cpp joins text parts by line ends


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] | None = None
    tool_calls: list[Any] | None = None
