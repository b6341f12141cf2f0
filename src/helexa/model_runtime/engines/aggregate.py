"""An engine's event stream → one JSON answer, for a caller that did not ask for a stream. Pure.

llama.cpp notices a caller that left only while it writes to it. So it is always asked for a
stream, and what the caller gets is put together here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from helexa.model_runtime.engines.chunks import Choice, Chunk, Delta, ToolCall
from helexa.model_runtime.engines.counting import TokenCounter, usage_json
from helexa.model_runtime.engines.failures import ERROR_BODY_BYTES_MAX, GARBAGE, failure_of
from helexa.model_runtime.engines.legacy import LegacyLogprobs
from helexa.model_runtime.engines.prefill import EchoStripper
from helexa.model_runtime.engines.reader import ChunkReader
from helexa.model_runtime.engines.stream import AnswerPlan
from helexa.model_runtime.interfaces import Ending, Failure
from helexa.protocol.inference import ResponseHead, Usage

ANSWER_BYTES_MAX: Final = 32 << 20
"""Of the engine's stream. The longest contexts in use make answers a tenth of it."""
TOOL_CALLS_MAX: Final = 128
_encode: Final = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Call:
    id: str = ""
    type: str = "function"
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    def add(self, part: ToolCall) -> None:
        self.id = part.id or self.id
        self.type = part.type or self.type
        if part.function is not None:
            self.name = self.name or part.function.name or ""
            self.arguments.append(part.function.arguments or "")

    def told(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": self.type, "function": function}


@dataclass(slots=True)
class _Answer:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[Any] = field(default_factory=list)
    legacy: LegacyLogprobs = field(default_factory=lambda: LegacyLogprobs(keep=True))
    finish_reason: str | None = None


class AggregateTranslation:
    """One answer, collected until it is whole."""

    def __init__(self, plan: AnswerPlan) -> None:
        self.head: ResponseHead | None = None
        self.failure: Failure | None = None
        self.produced = False
        self._plan = plan
        self._reader = ChunkReader(
            TokenCounter(plan.choices_per_prompt), extra_event_bytes=4 * len(plan.prefix)
        )
        self._echo = EchoStripper(plan.prefix) if plan.prefix else None
        self._answers: dict[int, _Answer] = {}
        self._taken_bytes = 0
        self._status = 200
        self._error_body = b""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status."""
        self._status = status

    def on_data(self, data: bytes) -> bytes:
        """Collect; the caller gets nothing before the end."""
        if self.failure is not None:
            return b""
        if self._status != 200:
            room = ERROR_BODY_BYTES_MAX - len(self._error_body)
            self._error_body += data[: max(room, 0)]
            return b""
        self._taken_bytes += len(data)
        if self._taken_bytes > ANSWER_BYTES_MAX:
            self._reader.failure = GARBAGE
        try:
            for _, chunk in self._reader.read(data):
                for choice in chunk.choices:
                    self._take(choice)
        except msgspec.MsgspecError:
            self._reader.failure = GARBAGE
        self.failure = self._reader.failure
        return b""

    def on_end(self, *, complete: bool) -> Ending:
        """Return the whole answer as one JSON object, or why there is none."""
        if self._status != 200:
            self.failure = failure_of(self._status, self._error_body)
            return Ending(b"", None, failure=self.failure)
        usage = self._reader.counter.so_far()
        self.failure = self._reader.close(complete=complete)
        if self.failure is not None:
            return Ending(b"", usage, self._reader.finish_reason, self.failure)
        self.head = ResponseHead(status=200, content_type="application/json")
        self.produced = True
        return Ending(_encode(self._whole(usage)), usage, self._reader.finish_reason)

    def _take(self, choice: Choice) -> None:
        answer = self._answers.get(choice.index)
        if answer is None:
            answer = self._answers[choice.index] = _Answer()
        if self._echo is not None:
            self._echo.strip(choice)
        if choice.text:
            answer.text.append(choice.text)
        if choice.delta is not None:
            self._take_delta(answer, choice.delta)
        if choice.logprobs is not None and not self._plan.hide_logprobs:
            self._take_logprobs(answer, choice.logprobs)
        answer.finish_reason = choice.finish_reason or answer.finish_reason

    def _take_delta(self, answer: _Answer, delta: Delta) -> None:
        if delta.content:
            answer.text.append(delta.content)
        if delta.reasoning_content or delta.reasoning:
            answer.reasoning.append(delta.reasoning_content or delta.reasoning or "")
        if delta.refusal:
            answer.refusal.append(delta.refusal)
        for part in delta.tool_calls or ():
            if not 0 <= part.index < TOOL_CALLS_MAX:
                self._reader.failure = GARBAGE
                return
            answer.calls.setdefault(part.index, _Call()).add(part)

    def _take_logprobs(self, answer: _Answer, logprobs: Any) -> None:
        if self._plan.legacy_logprobs:
            answer.legacy.add(logprobs)
            return
        if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
            answer.logprobs.extend(logprobs["content"])

    def _whole(self, usage: Usage | None) -> dict[str, Any]:
        last = self._reader.last or Chunk()
        whole: dict[str, Any] = {
            "id": last.id,
            "object": "chat.completion" if self._plan.chat else "text_completion",
            "created": last.created,
            "model": last.model,
            "choices": [
                self._told(index, answer) for index, answer in sorted(self._answers.items())
            ],
        }
        if last.system_fingerprint is not None:
            whole["system_fingerprint"] = last.system_fingerprint
        if usage is not None:
            whole["usage"] = usage_json(self._plan.told(usage))
        return whole

    def _told(self, index: int, answer: _Answer) -> dict[str, Any]:
        text = "".join(answer.text)
        told: dict[str, Any] = {"index": index}
        if self._plan.chat:
            message: dict[str, Any] = {"role": "assistant"}
            message["content"] = text if text or not answer.calls else None
            if answer.reasoning:
                message["reasoning_content"] = "".join(answer.reasoning)
            if answer.refusal:
                message["refusal"] = "".join(answer.refusal)
            if answer.calls:
                message["tool_calls"] = [call.told() for _, call in sorted(answer.calls.items())]
            told["message"] = message
            told["logprobs"] = {"content": answer.logprobs} if answer.logprobs else None
        else:
            told["text"] = text
            told["logprobs"] = answer.legacy.whole()
        told["finish_reason"] = answer.finish_reason
        return told
