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


class Continued(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stream that another neuron began, and how its next part has to look to be one with it."""

    id: str
    """Of every chunk."""
    created: int
    """Unix time in seconds, of every chunk."""
    completion_tokens: int
    """That the caller has been given."""
    overlap: str = ""
    """Space at the end of the text so far that the engine was not told and will say again; the
    caller has it, so it is taken off the answer's first text."""
    prompt_tokens: int | None = None
    """Of the caller's own prompt, where the engine before told them."""
    cached_tokens: int = 0
    """Of those."""

    def whole(self, usage: Usage) -> Usage:
        """Return the usage of the whole stream so far, from that of its last part.

        What was said before is prompt to the engine that continues, and completion to the caller.
        """
        prompt, cached = self.prompt_tokens, self.cached_tokens
        if prompt is None:
            prompt = max(usage.prompt_tokens - self.completion_tokens, 0)
            cached = usage.cached_tokens
        return msgspec.structs.replace(
            usage,
            prompt_tokens=prompt,
            completion_tokens=usage.completion_tokens + self.completion_tokens,
            cached_tokens=min(cached, prompt),
        )


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
    tenant: str = ""
    """Others must learn nothing by what an engine has read for this one; "": all may share."""
    continues: Continued | None = None
    """The body's last message is the text so far of a stream that is to be continued."""


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
    """The caller has nothing of an answer yet: another replica may be tried."""
    retry_after_s: int | None = None
    engine: str = ""
    """The engine process that died while it worked on the request; empty where none did."""


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
