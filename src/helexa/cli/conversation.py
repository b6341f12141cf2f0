"""A conversation with a model behind the OpenAI API, streamed."""

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from helexa.cli.http_client import HttpClient
from helexa.protocol.sse import EventSplitter, EventTooLargeError, data_of
from helexa.util.clock import Clock
from helexa.util.errors import HelexaError, NotFoundError


class BrokenStreamError(HelexaError):
    """An answer ended in the middle, or as something else than an answer."""

    def __init__(self, message: str, hint: str = "what came before it is shown above") -> None:
        super().__init__(message, error_id="HX-0704", hint=hint)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer: text for the reader, or thinking that came before it."""

    text: str
    is_reasoning: bool = False


@dataclass(slots=True)
class Timing:
    """How the last answer went; times in seconds."""

    first_token_s: float | None = None
    total_s: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""

    def line(self) -> str:
        """Return it as one line for people."""
        first = "-" if self.first_token_s is None else f"{self.first_token_s:.2f} s"
        after = self.total_s - (self.first_token_s or 0.0)
        rate = (self.completion_tokens - 1) / after if after > 0 else 0.0
        return (
            f"{self.prompt_tokens} tokens in, {self.completion_tokens} out, first after {first}, "
            f"{rate:.1f} tokens/s, {self.total_s:.2f} s in all ({self.finish_reason or 'cut'})"
        )


@dataclass(slots=True)
class Conversation:
    """The messages so far and how to get the next one."""

    client: HttpClient
    clock: Clock
    model: str
    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    turns: list[dict[str, str]] = field(default_factory=list)
    timing: Timing = field(default_factory=Timing)

    def ask(self, text: str) -> Iterator[Piece]:
        """Send `text` and yield the answer in pieces; the turn is kept when it is complete.

        Leaving the iterator early hangs up, which stops the model. Raises StatusError,
        UnreachableError or BrokenStreamError.
        """
        question = {"role": "user", "content": text}
        answer = ""
        for piece in self._stream([*self._opening(), *self.turns, question]):
            answer += "" if piece.is_reasoning else piece.text
            yield piece
        self.turns += [question, {"role": "assistant", "content": answer}]

    def forget(self) -> None:
        """Start over, with the same model and system message."""
        self.turns.clear()

    def _opening(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _stream(self, messages: list[dict[str, str]]) -> Iterator[Piece]:
        body: dict[str, Any] = {
            "model": self.model, "messages": messages, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        if self.temperature is not None:
            body["temperature"] = self.temperature
        self.timing = Timing()
        started_s = self.clock.monotonic()
        with self.client.post_stream("/chat/completions", body) as pieces:
            for event in _events(pieces):
                for piece in _pieces(event, self.timing):
                    if self.timing.first_token_s is None:
                        self.timing.first_token_s = self.clock.monotonic() - started_s
                    yield piece
        self.timing.total_s = self.clock.monotonic() - started_s


def _events(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the JSON events of a stream up to its `[DONE]`; a stream without one was cut."""
    splitter = EventSplitter()
    try:
        for piece in pieces:
            for event in splitter.feed(piece):
                data = data_of(event)
                if data == b"[DONE]":
                    return
                if data is not None:
                    yield _event(data)
    except (http.client.IncompleteRead, EventTooLargeError) as error:
        raise BrokenStreamError(f"the answer was cut: {type(error).__name__}") from error
    raise BrokenStreamError("the answer was cut: the stream ended without [DONE]")


def _event(data: bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError as error:
        raise BrokenStreamError(f"an event of the answer is not JSON: {data[:80]!r}") from error
    if not isinstance(event, dict):
        raise BrokenStreamError(f"an event of the answer is not an object: {data[:80]!r}")
    if event.get("error"):
        told = event["error"]
        message = told.get("message", told) if isinstance(told, dict) else told
        raise BrokenStreamError(f"the answer ended with an error: {message}")
    return event


def _pieces(event: dict[str, Any], timing: Timing) -> Iterator[Piece]:
    usage = event.get("usage")
    if isinstance(usage, dict):
        timing.prompt_tokens = int(usage.get("prompt_tokens") or 0)
        timing.completion_tokens = int(usage.get("completion_tokens") or 0)
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("reasoning_content"):
            yield Piece(str(delta["reasoning_content"]), is_reasoning=True)
        if delta.get("content"):
            yield Piece(str(delta["content"]))
        timing.finish_reason = choice.get("finish_reason") or timing.finish_reason


def default_model(client: HttpClient) -> str:
    """Return the model to talk to where none is named: a loaded chat model, else the first."""
    listed = client.get_json("/models")
    models = [item for item in listed.get("data", []) if isinstance(item, dict) and "id" in item]
    if not models:
        raise NotFoundError(
            f"{client.base} lists no models", error_id="HX-0705",
            hint="name one with --model, or configure one ([[models]] in cortex's file)",
        )  # fmt: skip
    best = min(range(len(models)), key=lambda index: (_rank(models[index]), index))
    return str(models[best]["id"])


def _rank(model: dict[str, Any]) -> int:
    """Order models for `default_model`: lower is better; unknown facts count for a model."""
    capabilities = model.get("capabilities")
    chats = "chat" in capabilities if isinstance(capabilities, list) else True
    loaded = model.get("state", "loaded") == "loaded"
    return (not chats) * 2 + (not loaded)
