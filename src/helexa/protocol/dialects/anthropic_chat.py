"""Anthropic's Messages request → a chat completion's body. Pure; the rules are in docs/clients.md.

Nothing is added to a prompt and nothing reordered, but for what a chat has another place for: tool
results become messages of their own, before the rest of their turn.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from helexa.protocol.dialects import anthropic
from helexa.protocol.dialects.chat_shapes import JSON_ERRORS, DialectError, joined, read_as

_PASSED: Final = ("model", "max_tokens", "temperature", "top_p", "top_k")
_BILLING: Final = re.compile(r"\Ax-anthropic-billing-header:[^\n]*\n?")
"""Claude Code's first line, for Anthropic's accounts and another one in each request: with it no
engine would ever find the prompt in its cache."""
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_encode: Final = msgspec.json.Encoder().encode


class _Turn(Struct):
    role: str
    content: str | list[Raw]


class _ToolChoice(Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class _Thinking(Struct):
    type: str = ""
    display: str | None = None


class _Asked(Struct):
    messages: list[_Turn]
    system: str | list[Raw] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Raw]] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: dict[str, Raw] | None = None


class _Kind(Struct):
    type: str


class _Text(Struct):
    text: str


class _Thought(Struct):
    thinking: str = ""


class _Source(Struct):
    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: str | list[Raw] = ""


class _Sourced(Struct):
    source: _Source


class _ToolUse(Struct):
    id: str
    name: str
    input: Raw = Raw(b"{}")


class _ToolResult(Struct):
    tool_use_id: str
    content: str | list[Raw] | None = None


_decode_asked: Final = msgspec.json.Decoder(_Asked).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def chat_body(body: bytes) -> tuple[bytes, bool]:
    """Return a chat completion's body, and whether the caller wants to see the model think.

    Raises DialectError for what a chat cannot say.
    """
    try:
        asked, fields = _decode_asked(body), _decode_fields(body)
    except JSON_ERRORS as error:
        raise DialectError(f"the body cannot be read: {str(error)[:300]}") from None
    chat: dict[str, Any] = {name: fields[name] for name in _PASSED if name in fields}
    chat["messages"] = _messages(asked)
    if asked.stop_sequences:
        chat["stop"] = asked.stop_sequences
    if asked.stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    tools = [_tool(tool) for tool in asked.tools or () if anthropic.is_custom(tool)]
    if tools:
        chat["tools"] = tools
        _choose(chat, asked.tool_choice)
    schema = anthropic.format_of(asked.output_config)
    if schema is not None:
        named = {"name": "answer", "schema": schema, "strict": True}
        chat["response_format"] = {"type": "json_schema", "json_schema": named}
    return _encode(chat), _shows(asked.thinking)


def _shows(thinking: _Thinking | None) -> bool:
    if thinking is None or thinking.type not in {"enabled", "adaptive"}:
        return False
    return thinking.display != "omitted"


def _tool(tool: dict[str, Raw]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.get("name")}
    if "description" in tool:
        function["description"] = tool["description"]
    function["parameters"] = tool.get("input_schema", {"type": "object", "properties": {}})
    return {"type": "function", "function": function}


def _choose(chat: dict[str, Any], choice: _ToolChoice | None) -> None:
    if choice is None:
        return
    if choice.type == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.type in _CHOICES:
        chat["tool_choice"] = _CHOICES[choice.type]
    else:
        allowed = ", ".join((*_CHOICES, "tool"))
        because = f"tool_choice.type: {choice.type[:64]!r} is none of {allowed}"
        raise DialectError(because, "tool_choice.type")
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = False


# ── the conversation ──────────────────────────────────────────────────────────────────────────


def _messages(asked: _Asked) -> list[dict[str, Any]]:
    """Return the chat's messages; what opens the conversation as system is one of them."""
    system = [_BILLING.sub("", text) for text in _texts(asked.system or "", "system")]
    turns = iter(enumerate(asked.messages))
    told: list[dict[str, Any]] = []
    first: tuple[int, _Turn] | None = None
    for number, turn in turns:
        if turn.role != "system":
            first = (number, turn)
            break
        system += _texts(turn.content, f"messages[{number}].content")
    text = "\n".join(part for part in system if part)
    if text:
        told.append({"role": "system", "content": text})
    for number, turn in (*((first,) if first else ()), *turns):
        path = f"messages[{number}].content"
        if turn.role == "assistant":
            told += _assistant(turn.content, path)
        elif turn.role == "system":
            told.append({"role": "system", "content": "\n".join(_texts(turn.content, path))})
        else:
            told += _user(turn.content, path)
    if not told:
        raise DialectError("messages: nothing in them is known here", "messages")
    return told


def _user(content: str | list[Raw], path: str) -> Iterable[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for number, block in enumerate(content):
        where = f"{path}[{number}]"
        if _kind(block, where) != "tool_result":
            parts += _part(block, where)
            continue
        result = read_as(block, _ToolResult, where)
        inner = _result_parts(result.content, f"{where}.content")
        text = "\n".join(part["text"] for part in inner if part["type"] == "text")
        results.append({"role": "tool", "tool_call_id": result.tool_use_id, "content": text})
        shown += [part for part in inner if part["type"] != "text"]
    parts = shown + parts  # a chat's tool messages hold text alone
    return [*results, {"role": "user", "content": joined(parts)}] if parts else results


def _result_parts(content: str | list[Raw] | None, path: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return [{"type": "text", "text": content or ""}]
    places = enumerate(content)
    return [part for number, block in places for part in _part(block, f"{path}[{number}]")]


def _assistant(content: str | list[Raw], path: str) -> Iterable[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": content}]
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for number, block in enumerate(content):
        where = f"{path}[{number}]"
        kind = _kind(block, where)
        if kind == "text":
            texts.append(read_as(block, _Text, where).text)
        elif kind == "thinking":
            thoughts.append(read_as(block, _Thought, where).thinking)
        elif kind == "tool_use":
            use = read_as(block, _ToolUse, where)
            function = {"name": use.name, "arguments": bytes(use.input).decode()}
            calls.append({"id": use.id, "type": "function", "function": function})
    text = "".join(texts)
    turn: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if any(thoughts):
        turn["reasoning_content"] = "".join(thoughts)
    if calls:
        turn["tool_calls"] = calls
    return [turn]


def _texts(content: str | list[Raw], path: str) -> list[str]:
    if isinstance(content, str):
        return [content]
    places = [(f"{path}[{number}]", block) for number, block in enumerate(content)]
    return [read_as(b, _Text, where).text for where, b in places if _kind(b, where) == "text"]


def _part(block: Raw, where: str) -> list[dict[str, Any]]:
    """Return a block of text or of an image as parts of a chat's message; no other has any."""
    kind = _kind(block, where)
    if kind == "text":
        return [{"type": "text", "text": read_as(block, _Text, where).text}]
    if kind == "image":
        url = _image_url(read_as(block, _Sourced, where).source, where)
        return [{"type": "image_url", "image_url": {"url": url}}]
    if kind == "document":
        source = read_as(block, _Sourced, where).source
        if source.type == "text":
            return [{"type": "text", "text": source.data}]
        if source.type == "content":
            return _result_parts(source.content, f"{where}.source.content")
        because = "a document must be plain text here; models take no files"
        raise DialectError(f"{where}.source: {because}", f"{where}.source")
    return []


def _image_url(source: _Source, where: str) -> str:
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    if source.type == "url":
        return source.url
    because = f"{source.type[:64]!r} is none of base64, url"
    raise DialectError(f"{where}.source.type: {because}", f"{where}.source.type")


def _kind(block: Raw, where: str) -> str:
    return read_as(block, _Kind, where).type
