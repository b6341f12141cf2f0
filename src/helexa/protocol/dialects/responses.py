"""OpenAI's Responses API: what the gateway reads of a request, and the event of a broken stream.

Pure. Nothing is stored: `store` is taken and has no effect, and what would need an earlier answer
is refused. Unknown fields, items and tool types are ignored.
"""

from typing import Annotated, Any, Final

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

ITEMS_MAX: Final = 8192
_EVENT: Final = b"\n\nevent: response."
SCHEMA_BYTES_MAX: Final = structure.SCHEMA_BYTES_MAX
_NOTHING: Final = frozenset({b"null", b"false", b'""'})
_STORED: Final = ("previous_response_id", "conversation", "background", "prompt")
"""Fields that need an answer, or a prompt, that was stored."""


class _Part(Struct):
    type: Any = None
    text: Any = None


class _Item(Struct):
    type: Any = None
    role: Any = None
    content: Raw = structure.ABSENT
    output: Raw = structure.ABSENT


_Items = Annotated[list[_Item], Meta(min_length=1, max_length=ITEMS_MAX)]


class _Text(Struct):
    format: dict[str, Raw] | None = None


class _Responses(Struct):
    input: str | _Items | UnsetType = UNSET
    model: Annotated[str, Meta(max_length=256)] | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=TOKENS_MAX)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    tools: Annotated[list[dict[str, Raw]], Meta(max_length=256)] | None = None
    tool_choice: Any = None
    text: _Text | None = None
    prompt_cache_key: Any = None
    user: Any = None
    previous_response_id: Raw = structure.ABSENT
    conversation: Raw = structure.ABSENT
    background: Raw = structure.ABSENT
    prompt: Raw = structure.ABSENT


_decode: Final = msgspec.json.Decoder(_Responses).decode
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


def _head(operation: Operation, asked: _Responses) -> RequestHead | Refusal:
    if asked.input is UNSET:
        because = "input: this field is required"
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="input")
    for name in _STORED:
        if bytes(getattr(asked, name)) not in _NOTHING:
            because = f"{name}: nothing is stored here; send the whole conversation in `input`"
            return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param=name)
    tools = [tool for tool in asked.tools or () if is_function(tool)]
    if (problem := _tools_problem(tools) or _format_problem(asked.text)) is not None:
        return problem
    told = [*_parts_of(asked.input)]
    characters = len(asked.instructions or "")
    characters += sum(len(part.text) for part in told if isinstance(part.text, str))
    last = asked.input[-1] if isinstance(asked.input, list) else None
    sessions = (asked.prompt_cache_key, asked.user)
    wanted = format_of(asked.text.format if asked.text is not None else None)
    return RequestHead(
        operation,
        asked.model,
        bool(asked.stream),
        tokens_max=asked.max_output_tokens,
        vision=any(part.type == "input_image" for part in told),
        continues=last is not None and last.role == "assistant",
        prompt_tokens_min=characters // CHARACTERS_PER_TOKEN_MAX,
        tools=bool(tools) and asked.tool_choice != "none",
        json_schema=wanted is not None,
        session=next((one for one in sessions if isinstance(one, str) and one), ""),
    )


def _parts_of(given: str | list[_Item]) -> list[_Part]:
    if isinstance(given, str):
        return [_Part(text=given)]
    parts: list[_Part] = []
    for item in given:
        for raw in (item.content, item.output):
            first = bytes(raw)[:1]
            if first == b"[":
                parts += _decode_parts(raw)
            elif first == b'"':
                parts.append(_Part(text=msgspec.json.decode(raw)))
    return parts


def is_function(tool: dict[str, Raw]) -> bool:
    """Tell whether a tool is a function of the caller's; there are many that OpenAI runs."""
    return bytes(tool.get("type", b"null")) == b'"function"'


def format_of(form: dict[str, Raw] | None) -> dict[str, Any] | None:
    """Return the chat's `response_format` for an answer's format; None for plain text."""
    kind = msgspec.json.decode(form.get("type", b"null")) if form else None
    if form is None or kind not in {"json_schema", "json_object"}:
        return None
    if kind == "json_object":
        return {"type": kind}
    named = {name: form[name] for name in ("name", "schema", "strict") if name in form}
    return {"type": kind, "json_schema": {"name": "answer", **named}}


def _tools_problem(tools: list[dict[str, Raw]]) -> Refusal | None:
    for number, tool in enumerate(tools):
        if bytes(tool.get("name", b""))[:1] != b'"':
            because = f"tools[{number}].name: a text is required"
            return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param=f"tools[{number}].name")
    problem = structure.tools_problem("tools", tools, "parameters")
    return None if problem is None else Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, "tools")


def _format_problem(text: _Text | None) -> Refusal | None:
    schema = text.format.get("schema") if text is not None and text.format else None
    if schema is None:
        return None
    name = "text.format.schema"
    if len(bytes(schema)) > SCHEMA_BYTES_MAX:
        problem: str | None = f"{name}: the schema has more than {SCHEMA_BYTES_MAX} bytes"
    else:
        problem, _ = schema_guard.judge(msgspec.json.decode(schema), name)
    return None if problem is None else Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, name)


def ending_at(data: bytes) -> int:
    """Return where the last Response begins in the end of a stream, 0 where it began before.

    It is what clients wait for, not the end mark behind it. No text of an answer can look like the
    beginning of an event: in JSON it has no line ends.
    """
    return data.rfind(_EVENT) + 2 if _EVENT in data else 0


def error_event(body: bytes) -> bytes:
    """Return the event that ends a broken stream, out of OpenAI's error body.

    It has the fields of both: `error`, at which client libraries raise, and those of the event.
    """
    told = msgspec.json.decode(body)["error"]
    event = {"type": "error", "sequence_number": SEQUENCE_LAST, "error": told}
    event |= {name: told.get(name) for name in ("code", "message", "param")}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


SEQUENCE_LAST: Final = 2**31 - 1
"""Higher than any before it: who breaks a stream off has not counted its events."""
