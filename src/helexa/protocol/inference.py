"""Requests and answers of inference as values, for everything that is not the byte path.

The gateway decodes only `RequestHead` and passes a body on as it came; the full types serve the
in-memory runtimes, the readiness canary and tests.
"""

from typing import Any

import msgspec

from helexa.protocol.workload import Operation


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one request. `cached` and `reasoning` are parts of prompt and completion."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class OpenHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`execute_request`: the head of a tunnel stream, cortex → neuron; the body follows."""

    request_id: str
    model: str
    operation: Operation
    stream: bool = False
    dialect: str = "openai"
    include_usage: bool = False
    """The caller asked for a usage frame in its stream."""
    traceparent: str = ""
    principal: str = ""


class ResponseHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The status and content type of an answer, neuron → cortex."""

    status: int = 200
    content_type: str = "application/json"
    retry_after_s: int | None = None


class Trailer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a request, neuron → cortex, at the end of its stream."""

    usage: Usage | None = None
    finish_reason: str = ""
    first_token_ms: float | None = None
    duration_ms: float = 0.0
    queued_ms: float = 0.0


class Reset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stream ends without an answer, either way. `code` is an `ErrorCode` or "cancelled"."""

    code: str
    message: str = ""
    retry_elsewhere: bool = False
    """Nothing reached the engine: another replica may be tried."""
    retry_after_s: int | None = None


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation. Content may be text, a list of parts, or absent."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat completion request."""

    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool = False

    @property
    def tokens_max(self) -> int | None:
        """The bound on new tokens; `max_completion_tokens` beats `max_tokens`."""
        if self.max_completion_tokens is not None:
            return self.max_completion_tokens
        return self.max_tokens


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The first choice of a chat completion."""

    text: str
    finish_reason: str
    usage: Usage | None = None


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text completion request."""

    model: str
    prompt: str
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Texts or token ids to embed. `encoding_format`: "float" or "base64" (little-endian f32)."""

    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str = "float"
    dimensions: int | None = None


class EmbeddingResponse(msgspec.Struct, frozen=True, kw_only=True):
    """One vector per input, in input order."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage | None = None
