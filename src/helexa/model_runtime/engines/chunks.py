"""The shape of an engine's streamed chunks, as far as they are looked into. Pure."""

from typing import Any, Final

import msgspec

from helexa.model_runtime.engines.counting import Timings, UsageBody


class ToolFunction(msgspec.Struct, gc=False):
    """Part of a tool call's function."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """Part of one tool call; `index` says of which."""

    index: int = 0
    id: str | None = None
    type: str | None = None
    function: ToolFunction | None = None


class Delta(msgspec.Struct):
    """What a chat chunk adds to a message."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """The same under the name that newer vLLM uses."""
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    def is_first_of_nothing(self) -> bool:
        """Tell whether the delta brings a role but no part of an answer."""
        return not (self.content or self.reasoning_content or self.reasoning or self.tool_calls)


class Choice(msgspec.Struct):
    """One choice's part of a chunk: `delta` in chats, `text` in completions."""

    index: int = 0
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class Progress(msgspec.Struct, gc=False):
    """llama.cpp's report of how much of the prompt was processed, in tokens and milliseconds."""

    total: int = 0
    cache: int = 0
    processed: int = 0
    time_ms: float = 0.0


class Chunk(msgspec.Struct):
    """One streamed chunk, of a chat or of a completion."""

    id: str = ""
    created: int = 0
    model: str = ""
    system_fingerprint: str | None = None
    choices: list[Choice] = []
    usage: UsageBody | None = None
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    error: Any = None

    @property
    def is_plain(self) -> bool:
        """Tell whether a caller may see it as it came: one choice's text, in OpenAI's spelling."""
        choices = self.choices
        if (
            self.usage is not None
            or self.timings is not None
            or self.prompt_progress is not None
            or self.error is not None
            or len(choices) != 1
        ):
            return False
        delta = choices[0].delta
        return delta is None or (
            delta.reasoning is None and (delta.role is None or delta.content is not None)
        )

    @property
    def is_text_with_a_count(self) -> bool:
        """Tell whether a caller may see it as it came, once its `usage` or `timings` is off."""
        choices = self.choices
        if (
            len(choices) != 1
            or (self.usage is None) is (self.timings is None)
            or self.prompt_progress is not None
            or self.error is not None
        ):
            return False
        delta = choices[0].delta
        return delta is not None and delta.role is None and delta.reasoning is None


decode_chunk: Final = msgspec.json.Decoder(Chunk).decode
