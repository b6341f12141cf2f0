"""Anthropic's Messages API: what the gateway reads of a request, and how it tells errors. Pure.

Only what routing and limits need is decoded here; the neuron reads the rest (`anthropic_chat`).
Unknown fields, blocks and tool types are ignored.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from helexa.protocol.dialects import json_guard, schema_guard, structure
from helexa.protocol.dialects.openai import (
    CHARACTERS_PER_TOKEN_MAX,
    TOKENS_MAX,
    RequestHead,
    invalid,
)
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.workload import Operation

STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
STOP_SEQUENCES_MAX: Final = 16
SCHEMA_BYTES_MAX: Final = structure.SCHEMA_BYTES_MAX

# ── what a request says ───────────────────────────────────────────────────────────────────────

_Kind = Annotated[str, Meta(max_length=64)]


class _Part(Struct):
    type: _Kind
    text: Any = None
    content: Raw = structure.ABSENT


_Content = str | Annotated[list[_Part], Meta(max_length=4096)]


class _Message(Struct):
    role: Literal["user", "assistant", "system"]
    content: _Content


class _Choice(Struct):
    type: _Kind


class _Metadata(Struct):
    user_id: Any = None


class _Messages(Struct):
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=4096)] | UnsetType = UNSET
    max_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] | UnsetType = UNSET
    model: Annotated[str, Meta(max_length=256)] | None = None
    system: _Content | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=TOKENS_MAX)] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=STOP_SEQUENCES_MAX)] | None = None
    tools: Annotated[list[dict[str, Raw]], Meta(max_length=128)] | None = None
    tool_choice: _Choice | None = None
    metadata: _Metadata | None = None
    output_config: dict[str, Raw] | None = None


_decode: Final = msgspec.json.Decoder(_Messages).decode
_decode_parts: Final = msgspec.json.Decoder(list[_Part]).decode


def read(operation: Operation, body: bytes) -> RequestHead | Refusal:
    """Check a body and return what routing needs, or the refusal to answer with (400)."""
    if (problem := json_guard.problem_of(body)) is not None:
        return Refusal(ErrorCode.MALFORMED_JSON, problem)
    try:
        return _head(operation, _decode(body))
    except msgspec.ValidationError as error:
        return invalid(error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Refusal(ErrorCode.MALFORMED_JSON, f"the body is not JSON: {str(error)[:200]}")


def _head(operation: Operation, asked: _Messages) -> RequestHead | Refusal:
    if asked.messages is UNSET:
        return _missing("messages")
    if asked.max_tokens is UNSET and operation is Operation.MESSAGES:
        return _missing("max_tokens")
    tools = [tool for tool in asked.tools or () if is_custom(tool)]
    if (problem := _tools_problem(tools) or _format_problem(asked.output_config)) is not None:
        return problem
    contents = [message.content for message in asked.messages]
    characters = sum(map(_characters, contents))
    if asked.system is not None:
        characters += _characters(asked.system)
    choice = asked.tool_choice
    told = asked.metadata.user_id if asked.metadata is not None else None
    return RequestHead(
        operation,
        asked.model,
        bool(asked.stream) and operation is Operation.MESSAGES,
        tokens_max=None if asked.max_tokens is UNSET else asked.max_tokens,
        vision=any(map(_has_image, contents)),
        continues=asked.messages[-1].role == "assistant",
        prompt_tokens_min=characters // CHARACTERS_PER_TOKEN_MAX,
        tools=bool(tools) and (choice is None or choice.type != "none"),
        json_schema=format_of(asked.output_config) is not None,
        session=told if isinstance(told, str) else "",
    )


def _missing(field: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, f"{field}: Field required", param=field)


def _characters(content: str | list[_Part]) -> int:
    if isinstance(content, str):
        return len(content)
    return sum(len(part.text) for part in content if isinstance(part.text, str))


def _has_image(content: str | list[_Part]) -> bool:
    if isinstance(content, str):
        return False
    return any(part.type == "image" or _shows_image(part) for part in content)


def _shows_image(part: _Part) -> bool:
    if part.type != "tool_result" or bytes(part.content)[:1] != b"[":
        return False
    return any(inner.type == "image" for inner in _decode_parts(part.content))


def is_custom(tool: dict[str, Raw]) -> bool:
    """Tell whether a tool is the caller's own; those that Anthropic runs or defines are not."""
    kind = bytes(tool.get("type", b"null"))
    return kind in {b"null", b'"custom"'}


def format_of(output_config: dict[str, Raw] | None) -> Any:
    """Return the schema that the answer must follow, or None."""
    given = output_config.get("format") if output_config else None
    told = msgspec.json.decode(given) if given is not None else None
    if not isinstance(told, dict) or told.get("type") != "json_schema":
        return None
    return told.get("schema")


def _tools_problem(tools: list[dict[str, Raw]]) -> Refusal | None:
    for number, tool in enumerate(tools):
        if bytes(tool.get("name", b""))[:1] != b'"':
            because = f"tools[{number}].name: a text is required"
            return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param=f"tools[{number}].name")
    problem = structure.tools_problem("tools", tools, "input_schema")
    if problem is None:
        return None
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param="tools")


def _format_problem(output_config: dict[str, Raw] | None) -> Refusal | None:
    schema = format_of(output_config)
    if schema is None:
        return None
    name = "output_config.format.schema"
    assert output_config is not None, "a schema out of nothing"
    if len(bytes(output_config["format"])) > SCHEMA_BYTES_MAX:
        because = f"{name}: the schema has more than {SCHEMA_BYTES_MAX} bytes"
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param=name)
    problem, _ = schema_guard.judge(schema, name)
    if problem is None:
        return None
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param=name)


# ── errors ────────────────────────────────────────────────────────────────────────────────────

_encode: Final = msgspec.json.Encoder().encode
_INVALID: Final = "invalid_request_error"
_TYPES: Final[dict[int, str]] = {
    400: _INVALID,
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES: Final = {
    # It comes back by itself and soon: Anthropic's word for that is 529, and clients come again.
    # Never for too many requests: that is 429 with its Retry-After, for Claude Code takes an
    # `overloaded_error` for a reason to try seven times and more.
    ErrorCode.MODEL_LOADING: 529,
    ErrorCode.SHUTTING_DOWN: 529,
    # No client library tries a 400 again.
    ErrorCode.NOT_SUPPORTED: 400,
}
_TOO_LONG: Final = "prompt is too long: "
"""What coding agents look for before they shorten a conversation."""


def status_of(refusal: Refusal) -> int:
    """Return the HTTP status of a refusal."""
    return _STATUSES.get(refusal.code, refusal.status)


def type_of(status: int) -> str:
    """Return the type of an error with this status."""
    return _TYPES.get(status, _INVALID if status < 500 else "api_error")


def envelope(refusal: Refusal, request_id: str | None = None) -> bytes:
    """Return the error body of a refusal, as JSON bytes in one line."""
    too_long = refusal.code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    message = f"{_TOO_LONG}{refusal.because}" if too_long else refusal.because
    return error_body(type_of(status_of(refusal)), message, request_id, refusal.code.value)


def error_body(kind: str, message: str, request_id: str | None, code: str = "") -> bytes:
    """Return an error body; `code`, helexa's own word for the error, stands beside the message."""
    error = {"type": kind, "message": message}
    if code:
        error["code"] = code
    body: dict[str, object] = {"type": "error", "error": error}
    if request_id:
        body["request_id"] = request_id
    return _encode(body)


def error_event(body: bytes) -> bytes:
    """Return the event that ends a broken stream; no `message_stop` follows it."""
    return b"event: error\ndata: " + body.replace(b"\n", b" ") + b"\n\n"


def answer_lines(request_id: str) -> bytes:
    """Return the header in which Anthropic's clients look for a request's id."""
    return b"request-id: " + request_id.encode() + b"\r\n"
