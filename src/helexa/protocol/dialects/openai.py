"""OpenAI's HTTP API: what a request body must look like.

Only what routing and limits need is decoded; a body travels on as the bytes that came. Unknown
fields are ignored, known ones are checked for type and range, because engines differ in what they
do with a bad one: llama.cpp takes most, vLLM once died of a large `n` (CVE-2026-34756).
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from helexa.protocol.dialects import json_guard, structure
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.workload import Operation

TOKENS_MAX: Final = 1 << 20
"""No model takes more; below it, the neuron clamps to the model's own context."""

_Count = Annotated[int, Meta(ge=0, le=TOKENS_MAX)]
_Choices = Annotated[int, Meta(ge=1, le=8)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Ratio = Annotated[float, Meta(ge=0, le=1)]
_Temperature = Annotated[float, Meta(ge=0, le=2)]
_Stop = str | Annotated[list[str], Meta(max_length=4)] | None
_Bias = Annotated[dict[str, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=300)] | None
_Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Function(Struct):
    name: str
    arguments: str = ""


class _ToolCall(Struct):
    function: _Function | None = None
    id: str | None = None


class _Part(Struct):
    type: Annotated[str, Meta(max_length=64)]


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Annotated[list[_Part], Meta(max_length=1024)] | None = None
    tool_calls: Annotated[list[_ToolCall], Meta(max_length=128)] | None = None


class _Sampling(Struct):
    model: Annotated[str, Meta(max_length=256)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: _Count | None = None
    n: _Choices | None = None
    temperature: _Temperature | None = None
    top_p: _Ratio | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    stop: _Stop = None
    seed: _Seed = None
    logit_bias: _Bias = None
    response_format: dict[str, Raw] | None = None
    json_schema: Raw = structure.ABSENT
    """llama.cpp's own name for a schema."""
    grammar: Raw = structure.ABSENT
    guided_json: Raw = structure.ABSENT
    guided_regex: Raw = structure.ABSENT
    guided_choice: Raw = structure.ABSENT
    guided_grammar: Raw = structure.ABSENT
    structured_outputs: Raw = structure.ABSENT
    structural_tag: Raw = structure.ABSENT
    prompt_cache_key: Raw = structure.ABSENT
    user: Raw = structure.ABSENT


class _Chat(_Sampling):
    messages: Annotated[list[_Message], Meta(min_length=1, max_length=2048)] | UnsetType = UNSET
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: Annotated[list[dict[str, Raw]], Meta(max_length=128)] | None = None
    tool_choice: str | dict[str, Raw] | None = None
    functions: Annotated[list[dict[str, Raw]], Meta(max_length=128)] | None = None
    function_call: str | dict[str, Raw] | None = None


class _Completion(_Sampling):
    prompt: str | Annotated[list[Raw], Meta(min_length=1, max_length=131_072)] | UnsetType = UNSET
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: _Choices | None = None


class _Embeddings(Struct):
    input: str | Annotated[list[Raw], Meta(min_length=1, max_length=131_072)] | UnsetType = UNSET
    model: Annotated[str, Meta(max_length=256)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None


EMBEDDING_INPUTS_MAX: Final = 2048
CHARACTERS_PER_TOKEN_MAX: Final = 16
"""Prose has 3 to 5; only what is certainly over a window may be refused by it."""

_chat: Final = msgspec.json.Decoder(_Chat)
_completion: Final = msgspec.json.Decoder(_Completion)
_embeddings: Final = msgspec.json.Decoder(_Embeddings)
_input_item: Final = msgspec.json.Decoder(
    str | Annotated[int, Meta(ge=0, le=2**31 - 1)] | list[int]
)


class RequestHead(Struct, frozen=True, gc=False):
    """What routing needs of a request; the body itself is passed on as it came."""

    operation: Operation
    model: str | None
    stream: bool = False
    include_usage: bool = False
    tokens_max: int | None = None
    choices: int = 1
    vision: bool = False
    continues: bool = False
    """The last message is the assistant's: the answer continues it."""
    prompt_tokens_min: int = 0
    """The prompt has at least this many tokens; errs low, and 0 where that cannot be told."""
    tools: bool = False
    """The model may call tools, by `tools` or the older `functions`."""
    json_schema: bool = False
    """The answer must be JSON, of a given schema or of any."""
    session: str = ""
    """What requests of one conversation may have in common: `prompt_cache_key`, else `user`."""


def read(operation: Operation, body: bytes) -> RequestHead | Refusal:
    """Check a body and return what routing needs, or the refusal to answer with (400)."""
    if (problem := json_guard.problem_of(body)) is not None:
        return Refusal(ErrorCode.MALFORMED_JSON, problem)
    try:
        if operation is Operation.CHAT:
            return _chat_head(_chat.decode(body))
        if operation is Operation.COMPLETION:
            return _completion_head(_completion.decode(body))
        return _embeddings_head(_embeddings.decode(body))
    except msgspec.ValidationError as error:
        return invalid(error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Refusal(ErrorCode.MALFORMED_JSON, f"the body is not JSON: {str(error)[:200]}")


def invalid(error: msgspec.ValidationError) -> Refusal:
    """Return the refusal of a body whose fields are not as they should be."""
    text = str(error)
    reason, _, path = text.partition(" - at `$")
    param = path.rstrip("`").lstrip(".") or None
    where = f"{param}: " if param else ""
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, f"{where}{reason}"[:500], param=param)


def _missing(field: str) -> Refusal:
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, f"{field}: this field is required", param=field)


def _chat_head(chat: _Chat) -> RequestHead | Refusal:
    if chat.messages is UNSET:
        return _missing("messages")
    if (problem := structure.problem_of(chat, chat.tools, chat.functions)) is not None:
        return problem
    beats = chat.max_completion_tokens
    vision = False
    characters = 0
    for message in chat.messages:
        content = message.content
        if type(content) is str:
            characters += len(content)
        elif content is not None and not vision:
            vision = any(part.type == "image_url" for part in content)  # type: ignore[union-attr]
    options = chat.stream_options
    return RequestHead(
        Operation.CHAT,
        chat.model,
        bool(chat.stream),
        options is not None and bool(options.include_usage),
        beats if beats is not None else chat.max_tokens,
        chat.n or 1,
        vision,
        chat.messages[-1].role == "assistant",
        characters // CHARACTERS_PER_TOKEN_MAX,
        _asks_for_tools(chat),
        chat.response_format is not None and structure.asks_for_json(chat.response_format),
        _session_of(chat),
    )


def _session_of(sampling: _Sampling) -> str:
    for told in (sampling.prompt_cache_key, sampling.user):
        if bytes(told)[:1] == b'"':  # what is no text is nobody's name
            return str(msgspec.json.decode(told))
    return ""


def _asks_for_tools(chat: _Chat) -> bool:
    # Who says "none" wants no calls: a model without tools does just that.
    if chat.tools and chat.tool_choice != "none":
        return True
    return bool(chat.functions) and chat.function_call != "none"


def _completion_head(completion: _Completion) -> RequestHead | Refusal:
    if completion.prompt is UNSET:
        return _missing("prompt")
    if (problem := structure.problem_of(completion)) is not None:
        return problem
    options = completion.stream_options
    return RequestHead(
        Operation.COMPLETION,
        completion.model,
        bool(completion.stream),
        options is not None and bool(options.include_usage),
        completion.max_tokens,
        completion.n or 1,
        prompt_tokens_min=_completion_tokens_min(completion.prompt),
        session=_session_of(completion),
    )


def _completion_tokens_min(prompt: str | list[Raw]) -> int:
    if isinstance(prompt, str):
        return len(prompt) // CHARACTERS_PER_TOKEN_MAX
    # A list of numbers is one prompt of that many tokens; a list of texts is many prompts.
    return len(prompt) if bytes(prompt[0])[:1].isdigit() else 0


def _embeddings_head(embeddings: _Embeddings) -> RequestHead | Refusal:
    given = embeddings.input
    if given is UNSET:
        return _missing("input")
    if isinstance(given, list):
        # Token ids may be many; texts (and lists of ids) may not.
        first = bytes(given[0])[:1]
        if first in {b'"', b"["} and len(given) > EMBEDDING_INPUTS_MAX:
            because = f"input: {len(given)} items; at most {EMBEDDING_INPUTS_MAX} are taken at once"
            return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="input")
        for item in given:
            _input_item.decode(item)
    if given == "":
        because = "input: an empty text has no embedding"
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="input")
    return RequestHead(Operation.EMBEDDINGS, embeddings.model)
