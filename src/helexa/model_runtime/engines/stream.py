"""An engine's event stream → the clean OpenAI stream that a caller sees. Pure.

An event that needs no change is passed on as the bytes that came. The status is not committed
before the first token (or two seconds of prompt processing), so that until then another neuron
can still take over.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from helexa.model_runtime.engines.chunks import Chunk
from helexa.model_runtime.engines.counting import TokenCounter, usage_json
from helexa.model_runtime.engines.failures import ERROR_BODY_BYTES_MAX, GARBAGE, failure_of
from helexa.model_runtime.engines.legacy import LegacyLogprobs
from helexa.model_runtime.engines.prefill import EchoStripper
from helexa.model_runtime.engines.reader import ChunkReader
from helexa.model_runtime.engines.splice import Splice
from helexa.model_runtime.engines.told_count import CountTeller, without_report
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.protocol.inference import Continued, ResponseHead, Usage
from helexa.protocol.sse import DONE, comment_of, data_of, event_of

SILENCE_MS_MAX: Final = 2000
"""After so long the gateway commits the status by itself: nothing is won by waiting longer."""
HELD_BYTES_MAX: Final = 64 << 10
_HEAD: Final = ResponseHead(status=200, content_type="text/event-stream")
_NOT_FOR_CALLERS: Final = ("timings", "prompt_progress", "usage", "__verbose")
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """What has to be known about a request to translate its answer."""

    chat: bool
    include_usage: bool = False
    choices_per_prompt: int = 1
    prefix: str = ""
    """The trailing assistant text that the engine may repeat."""
    hide_logprobs: bool = False
    """They were asked for by us, not by the caller."""
    legacy_logprobs: bool = False
    """The engine tells a completion's logprobs in the shape of a chat's."""
    continues: Continued | None = None
    """The answer is the next part of a stream that another neuron began."""
    tells_count: bool = False
    """The engine counts with every chunk, and another neuron could continue this stream."""
    hides_cached: bool = False
    """The engine's cache is every tenant's: that a prompt was in it tells what others asked."""

    def told(self, usage: Usage) -> Usage:
        """Return a usage as callers may see it."""
        if self.hides_cached and usage.cached_tokens:
            return msgspec.structs.replace(usage, cached_tokens=0)
        return usage


class StreamTranslation:
    """One streamed answer of an engine that speaks OpenAI's stream format with extras."""

    def __init__(self, plan: AnswerPlan) -> None:
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False
        self._plan = plan
        self._reader = ChunkReader(
            TokenCounter(plan.choices_per_prompt), extra_event_bytes=4 * len(plan.prefix)
        )
        self._echo = EchoStripper(plan.prefix) if plan.prefix else None
        self._logprobs: dict[int, LegacyLogprobs] = {}
        self._splice = Splice(plan.continues) if plan.continues is not None else None
        self._teller = (
            CountTeller(
                self._reader.counter,
                plan.continues,
                owes_prompt=plan.include_usage,
                hides_cached=plan.hides_cached,
            )
            if plan.tells_count
            else None
        )
        self._always_rewrites = (
            plan.hide_logprobs
            or plan.legacy_logprobs
            or bool(plan.prefix)
            or self._splice is not None
        )
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._status = 200
        self._error_body = b""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status."""
        self._status = status

    def on_data(self, data: bytes) -> bytes:
        """Return the events for the caller that `data` completes."""
        if self.failure is not None:
            return b""
        if self._status != 200:
            room = ERROR_BODY_BYTES_MAX - len(self._error_body)
            self._error_body += data[: max(room, 0)]
            return b""
        reader, teller = self._reader, self._teller
        rewrites = self._always_rewrites
        out = []
        for event, chunk in reader.read(data):
            if teller is not None:
                out.append(self._counted(event, chunk, teller))
            else:
                plain = not rewrites and chunk.is_plain
                out.append(event if plain else self._changed(event, chunk))
            if reader.failure is not None:
                break
        self.produced = reader.produced
        self.failure = reader.failure
        return self._released(b"".join(out))

    def on_end(self, *, complete: bool) -> Ending:
        """Return the closing events, or why the answer is not whole."""
        usage = self._reader.counter.so_far()
        if self._status != 200:
            self.failure = failure_of(self._status, self._error_body)
            return Ending(b"", None, failure=self.failure)
        self.failure = self._reader.close(complete=complete)
        if self.failure is not None:
            return Ending(b"", usage, self._reader.finish_reason, self.failure)
        held = b"".join(self._held)
        self.head = _HEAD
        closing = self._usage_event(usage) if self._plan.include_usage and usage else b""
        return Ending(held + closing + DONE, usage, self._reader.finish_reason)

    def _released(self, data: bytes) -> bytes:
        """Return `data` once the status is committed; hold it, bounded, until then."""
        if self.head is not None:
            return data
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        started = self.produced or self._reader.finish_reason or self._held_bytes > HELD_BYTES_MAX
        if not (started or self._is_slow()) or not self._held:
            return b""
        self.head = _HEAD
        held = b"".join(self._held)
        self._held.clear()
        return held

    def _counted(self, event: bytes, chunk: Chunk, teller: CountTeller) -> bytes:
        """Return what the caller gets of an event, and the count where that must be told."""
        bare = None
        if not self._always_rewrites:
            if chunk.is_text_with_a_count:
                bare = without_report(event)
            elif chunk.is_plain:
                bare = event
        if bare is None:
            bare = self._changed(event, chunk)
            if not bare or chunk.prompt_progress is not None:
                return bare
        delta = chunk.choices[0].delta
        told = teller.after(chunk, says=delta is not None and bool(delta.content))
        return bare + told if told else bare

    def _is_slow(self) -> bool:
        last = self._reader.last
        progress = last.prompt_progress if last is not None else None
        return progress is not None and progress.time_ms >= SILENCE_MS_MAX

    def _changed(self, event: bytes, chunk: Chunk) -> bytes:
        """Return what the caller gets instead of an event; b"" for nothing."""
        progress = chunk.prompt_progress
        if progress is not None:
            slow = progress.time_ms >= SILENCE_MS_MAX
            text = f"prefill {progress.processed}/{progress.total}"
            return comment_of(text) if slow else b""
        if not chunk.choices:
            return b""
        fields = msgspec.json.decode(data_of(event) or b"{}")
        for name in _NOT_FOR_CALLERS:
            fields.pop(name, None)
        if self._splice is not None:
            self._splice.mark(fields)
        try:
            for choice in zip(chunk.choices, fields["choices"], strict=True):
                if not self._change_choice(*choice) and len(chunk.choices) == 1:
                    return b""
        except msgspec.MsgspecError:
            self._reader.failure = GARBAGE
            return b""
        return event_of(_encode(fields))

    def _change_choice(self, choice: Any, fields: dict[str, Any]) -> bool:
        """Clean one choice in place; tell whether anything is left of it."""
        stripped = self._echo is not None and self._echo.strip(choice)
        if self._plan.hide_logprobs:
            fields.pop("logprobs", None)
        elif self._plan.legacy_logprobs:
            legacy = self._logprobs.setdefault(choice.index, LegacyLogprobs())
            fields["logprobs"] = legacy.add(choice.logprobs)
        delta = choice.delta
        if delta is None:
            return True
        told = fields["delta"]
        spliced = self._splice is not None and self._splice.strip(delta, told)
        if stripped or (delta.role is not None and delta.content is None):
            told["content"] = delta.content or ""
        if delta.reasoning is not None and delta.reasoning_content is None:
            told["reasoning_content"] = told.pop("reasoning")
        left = bool(choice.finish_reason) or not delta.is_first_of_nothing()
        return left or not (stripped or spliced)

    def _usage_event(self, usage: Usage) -> bytes:
        last = self._reader.last or Chunk()
        kind = "chat.completion.chunk" if self._plan.chat else "text_completion"
        continues = self._plan.continues
        fields: dict[str, Any] = {
            "id": last.id,
            "object": kind,
            "created": last.created,
            "model": last.model,
            "choices": [],
            "usage": usage_json(
                self._plan.told(usage if continues is None else continues.whole(usage))
            ),
        }
        if self._splice is not None:
            self._splice.mark(fields)
        return event_of(_encode(fields))
