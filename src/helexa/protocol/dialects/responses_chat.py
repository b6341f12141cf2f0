"""OpenAI's Responses request → a chat completion's body. Pure; the rules are in docs/clients.md."""

from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from helexa.protocol.dialects import responses
from helexa.protocol.dialects.chat_shapes import JSON_ERRORS, DialectError, joined, read_as

_PASSED: Final = ("model", "temperature", "top_p")
_CHOICES: Final = frozenset({"auto", "none", "required"})
_SYSTEM: Final = frozenset({"system", "developer"})
_TEXTS: Final = frozenset({"input_text", "output_text", "text", "refusal", "reasoning_text"})
_encode: Final = msgspec.json.Encoder().encode
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


class _Text(Struct):
    format: dict[str, Raw] | None = None


class _Asked(Struct):
    input: str | list[Raw]
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[dict[str, Raw]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None


class _Item(Struct):
    type: str | None = None
    role: str = ""
    content: str | list[Raw] | None = None
    output: str | list[Raw] | None = None
    summary: list[Raw] | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""


class _Kind(Struct):
    type: str | None = None
    role: str | None = None


class _Part(Struct):
    type: str | None = None
    text: str = ""
    refusal: str = ""
    image_url: str | None = None


_KNOWN: Final = frozenset({"message", "reasoning", "function_call", "function_call_output"})
_PARTS: Final = _TEXTS | {"input_image", "input_file"}


def chat_body(body: bytes) -> tuple[bytes, dict[str, Raw]]:
    """Return a chat completion's body, and the request's own fields, which its answer repeats.

    Raises DialectError for what a chat cannot say.
    """
    try:
        asked, fields = msgspec.json.decode(body, type=_Asked), _fields(body)
    except JSON_ERRORS as error:
        raise DialectError(f"the body cannot be read: {str(error)[:300]}") from None
    chat: dict[str, Any] = {name: fields[name] for name in _PASSED if name in fields}
    chat["messages"] = _messages(asked)
    if asked.max_output_tokens is not None:
        chat["max_tokens"] = asked.max_output_tokens
    if asked.stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    tools = [_tool(tool) for tool in asked.tools or () if responses.is_function(tool)]
    if tools:
        chat["tools"] = tools
        _choose(chat, asked)
    form = responses.format_of(asked.text.format if asked.text is not None else None)
    if form is not None:
        chat["response_format"] = form
    return _encode(chat), fields


def _tool(tool: dict[str, Raw]) -> dict[str, Any]:
    names = ("name", "description", "parameters", "strict")
    function = {name: tool[name] for name in names if bytes(tool.get(name, b"null")) != b"null"}
    return {"type": "function", "function": function}


def _choose(chat: dict[str, Any], asked: _Asked) -> None:
    choice = asked.tool_choice
    if isinstance(choice, str) and choice in _CHOICES:
        chat["tool_choice"] = choice
    elif isinstance(choice, dict) and choice.get("type") == "function":
        named = {"name": choice.get("name")}
        chat["tool_choice"] = {"type": "function", "function": named}
    if asked.parallel_tool_calls is False:
        chat["parallel_tool_calls"] = False


# ── the conversation ──────────────────────────────────────────────────────────────────────────


def _messages(asked: _Asked) -> list[dict[str, Any]]:
    system = [asked.instructions] if asked.instructions else []
    told: list[dict[str, Any]] = []
    thought = ""
    items = asked.input
    if isinstance(items, str):
        told.append({"role": "user", "content": items})
        items = []
    for number, raw in enumerate(items):
        where = f"input[{number}]"
        item = _item(raw, where)
        if item is None:
            continue
        if item.type == "reasoning":
            thought = _thought(item, where)
        elif item.type == "function_call":
            turn = _assistant(told, thought)
            function = {"name": item.name, "arguments": item.arguments or "{}"}
            call = {"id": item.call_id, "type": "function", "function": function}
            turn.setdefault("tool_calls", []).append(call)
            thought = ""
        elif item.type == "function_call_output":
            told += _result(item, where)
        elif item.role in _SYSTEM and not told:
            system += _texts(item.content, where)
        else:
            told.append(_turn(item, where, thought))
            thought = ""
    text = "\n".join(part for part in system if part)
    if text:
        told.insert(0, {"role": "system", "content": text})
    if not told:
        raise DialectError("input: nothing in it is known here", "input")
    return told


def _item(raw: Raw, where: str) -> _Item | None:
    kind = read_as(raw, _Kind, where)
    if kind.type is None and kind.role is None:
        return None
    if kind.type is not None and kind.type not in _KNOWN:
        return None
    item = read_as(raw, _Item, where)
    known = item.role in {"user", "assistant", *_SYSTEM}
    if kind.type in {None, "message"} and not known:
        because = f"{item.role[:64]!r} is none of user, assistant, system, developer"
        raise DialectError(f"{where}.role: {because}", f"{where}.role")
    return item


def _assistant(told: list[dict[str, Any]], thought: str) -> dict[str, Any]:
    """Return the assistant's turn that a call belongs to: the one before it, or a new one."""
    if told and told[-1]["role"] == "assistant" and not thought:
        return told[-1]
    turn: dict[str, Any] = {"role": "assistant", "content": None}
    if thought:
        turn["reasoning_content"] = thought
    told.append(turn)
    return turn


def _turn(item: _Item, where: str, thought: str) -> dict[str, Any]:
    if item.role == "assistant":
        content: Any = "".join(_texts(item.content, where))
        more = {"reasoning_content": thought} if thought else {}
        return {"role": "assistant", "content": content, **more}
    if item.role in _SYSTEM:
        return {"role": "system", "content": "\n".join(_texts(item.content, where))}
    return {"role": "user", "content": joined(_parts(item.content, f"{where}.content"))}


def _result(item: _Item, where: str) -> list[dict[str, Any]]:
    parts = _parts(item.output, f"{where}.output")
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    shown = [part for part in parts if part["type"] != "text"]
    result = {"role": "tool", "tool_call_id": item.call_id, "content": text}
    return [result, {"role": "user", "content": shown}] if shown else [result]


def _thought(item: _Item, where: str) -> str:
    content = _texts(item.content, where) if isinstance(item.content, list) else []
    return "".join(content or [])


def _texts(content: str | list[Raw] | None, where: str) -> list[str]:
    parts = _parts(content, f"{where}.content")
    return [part["text"] for part in parts if part["type"] == "text"]


def _parts(content: str | list[Raw] | None, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return [{"type": "text", "text": content or ""}]
    parts: list[dict[str, Any]] = []
    for number, raw in enumerate(content):
        place = f"{where}[{number}]"
        if read_as(raw, _Kind, place).type not in _PARTS:
            continue
        part = read_as(raw, _Part, place)
        if part.type in _TEXTS:
            parts.append({"type": "text", "text": part.text or part.refusal})
        elif part.type == "input_image" and part.image_url:
            parts.append({"type": "image_url", "image_url": {"url": part.image_url}})
        else:
            because = "models take no files here; send text, or an image by `image_url`"
            raise DialectError(f"{place}: {because}", place)
    return parts
