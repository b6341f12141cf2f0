"""A stream whose neuron died is continued on another one: what for, and how. Pure.

The bytes of a stream that may be resumed are kept, bounded, and its caller gets whole events only.
They are parsed when the stream must be resumed, and only then: the text so far becomes a trailing
assistant message, which the next engine continues, and the next neuron gives its chunks the id and
time that the first ones had. So the caller sees one stream: nothing is lost, nothing said twice.

What cannot be continued is left alone: tools, schemas, several choices, logprobs, reasoning, and a
conversation that ends with the assistant's words already.

Tokens so far are what the stream's own comments say (`protocol.token_count`), and one more for
each chunk with text since. Where an engine does not count, it is chunks alone: then one that packs
several tokens into one may say a little more than the caller's bound, never less.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from helexa.model_runtime.engines.counting import UsageBody, usage_json
from helexa.protocol.inference import Continued, Usage
from helexa.protocol.sse import data_of, event_of
from helexa.protocol.token_count import count_told

KEPT_BYTES_MAX: Final = 1 << 20
"""Of one stream; a longer one is not resumed. An answer of 4,000 tokens has about that."""
KEPT_BYTES_MAX_ALL: Final = 128 << 20
_TOKEN_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "n_predict")
_OF_ANOTHER_FORM: Final = frozenset(
    {
        # Their answers are more than text, or text that follows a grammar from its beginning.
        "tools", "functions", "logprobs", "top_logprobs", "n_probs", "grammar", "json_schema",
        "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs",
        "modalities", "audio", "prompt_logprobs", "best_of", "use_beam_search",
        "return_token_ids", "return_tokens_as_token_ids",
        # The caller steers the end of its own prompt, or how much of its beginning is left.
        "continue_final_message", "add_generation_prompt", "truncate_prompt_tokens",
    }
)  # fmt: skip
_JSON_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError)
_encode: Final = msgspec.json.Encoder().encode


# ── keeping ───────────────────────────────────────────────────────────────────────────────────


class KeptBytes:
    """Bytes that all kept streams together may hold."""

    __slots__ = ("left",)

    def __init__(self, allowed_bytes: int = KEPT_BYTES_MAX_ALL) -> None:
        self.left = allowed_bytes


class KeptStream:
    """One stream's bytes so far, its cut into whole events, and how often it was continued."""

    __slots__ = (
        "_all",
        "_bytes",
        "_parts",
        "attempts_at_resume",
        "continuation",
        "given_up",
        "rest",
        "resumes",
        "tokens_at_resume",
    )

    def __init__(self, all_streams: KeptBytes) -> None:
        self._all = all_streams
        self._parts: list[bytes] = []
        self._bytes = 0
        self.rest = b""
        """The beginning of an event that is not complete; its caller has nothing of it."""
        self.given_up = False
        """It became too long: nothing is kept, and bytes pass as they come."""
        self.resumes = 0
        self.continuation: Continuation | None = None
        """What the neuron that has it now was asked for."""
        self.tokens_at_resume = 0
        self.attempts_at_resume = 0

    def take(self, data: bytes) -> bytes:
        """Keep bytes; return the whole events that they complete, for the caller."""
        if self.given_up:
            return data
        if self.rest:
            data = self.rest + data
            self.rest = b""
        if not data.endswith(b"\n\n"):
            end = data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
            data, self.rest = data[:end], data[end:]
        size = len(data)
        self._bytes += size
        self._all.left -= size
        if self._bytes + len(self.rest) > KEPT_BYTES_MAX or self._all.left < 0:
            rest = self.rest
            self.close()
            return data + rest
        self._parts.append(data)
        return data

    def parts(self) -> list[bytes]:
        """Return all bytes that the caller was given."""
        return self._parts

    def drop_rest(self) -> None:
        """Forget the event that will not be completed."""
        self.rest = b""

    def goes_on(self, continuation: "Continuation", tokens: int, attempts: int) -> None:
        """Note that another neuron continues it, after so many tokens and attempts."""
        self.continuation = continuation
        self.tokens_at_resume = tokens
        self.attempts_at_resume = attempts
        self.resumes += 1

    def close(self) -> None:
        """Give the memory back; nothing is kept from here on."""
        if not self.given_up:
            self.given_up = True
            self._all.left += self._bytes
            self._parts, self.rest, self._bytes = [], b"", 0


NOT_KEPT: Final = KeptStream(KeptBytes(0))
"""Stands for the bytes of every stream, and answer, that is not kept."""
NOT_KEPT.close()


# ── reading back ──────────────────────────────────────────────────────────────────────────────


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: Any = None
    function_call: Any = None

    def is_plain(self) -> bool:
        others = (self.reasoning_content, self.reasoning, self.refusal)
        return not any(others) and not self.tool_calls and not self.function_call


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    id: str = ""
    created: int = 0
    model: str = ""
    choices: list[_Choice] = []
    usage: UsageBody | None = None
    error: Any = None


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode


@dataclass(frozen=True, slots=True)
class SoFar:
    """What the caller of a stream has been told."""

    id: str = ""
    """Empty while no chunk came."""
    created: int = 0
    model: str = ""
    text: str = ""
    tokens: int = 0
    finish_reason: str = ""
    prompt_tokens: int | None = None
    """None where no engine told them."""
    cached_tokens: int = 0
    usage_told: bool = False
    """The caller has its usage frame."""

    @property
    def usage(self) -> Usage | None:
        """Return the tokens so far; None where the prompt's are not known."""
        if self.prompt_tokens is None:
            return None
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.tokens,
            cached_tokens=self.cached_tokens,
        )


def read_so_far(parts: Iterable[bytes]) -> SoFar | None:
    """Return what a caller got, from the bytes it was given; None where that is not plain text."""
    reading = _Reading()
    for event in b"".join(parts).split(b"\n\n"):
        if event and not reading.takes(event):
            return None
    return reading.so_far()


class _Reading:
    """A stream's events, one after the other."""

    def __init__(self) -> None:
        self._head: _Chunk | None = None
        self._texts: list[str] = []
        self._tokens = 0
        self._counted: Usage | None = None
        self._finish_reason = ""
        self._usage_told = False

    def takes(self, event: bytes) -> bool:
        """Read one event, without its blank line; tell whether it is part of a plain text."""
        payload = data_of(event + b"\n\n")
        if payload is None:
            self._count(count_told(event))
            return True
        try:
            chunk = _decode_chunk(payload)
        except _JSON_ERRORS:
            return False
        self._head = head = self._head or chunk
        if chunk.error is not None or chunk.id != head.id or len(chunk.choices) > 1:
            return False
        if chunk.usage is not None:
            self._count(chunk.usage.usage())
            self._usage_told = True
        return all(map(self._takes_choice, chunk.choices))

    def _count(self, told: Usage | None) -> None:
        if told is not None:
            self._counted, self._tokens = told, told.completion_tokens

    def _takes_choice(self, choice: _Choice) -> bool:
        delta = choice.delta
        if choice.index or choice.logprobs is not None or self._finish_reason:
            return False
        if delta is not None and not delta.is_plain():
            return False
        if delta is not None and delta.content:
            self._texts.append(delta.content)
            self._tokens += 1
        self._finish_reason = choice.finish_reason or ""
        return True

    def so_far(self) -> SoFar:
        """Return all that was read."""
        head, counted = self._head, self._counted
        if head is None:
            return SoFar()
        return SoFar(
            id=head.id,
            created=head.created,
            model=head.model,
            text="".join(self._texts),
            tokens=self._tokens,
            finish_reason=self._finish_reason,
            prompt_tokens=None if counted is None else counted.prompt_tokens,
            cached_tokens=0 if counted is None else counted.cached_tokens,
            usage_told=self._usage_told,
        )


# ── going on ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Continuation:
    """The request that makes another engine go on, and what its neuron has to know."""

    body: bytes
    continued: Continued | None
    """None where the caller has no chunk yet: the stream just begins anew."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The stream was whole but for its end: the last bytes of it, before the end mark."""

    data: bytes
    finish_reason: str
    usage: Usage | None = None


def continuation(
    body: bytes, so_far: SoFar, *, include_usage: bool = False
) -> Continuation | Ending | None:
    """Return how a chat goes on after `so_far`; None where it cannot.

    `body` is the caller's own. It is sent again as it came where nothing was said yet.
    `include_usage`: the caller asked for a usage frame, and gets one where the usage is known.
    """
    if so_far.finish_reason:
        return _ending(so_far, b"", so_far.finish_reason, include_usage=include_usage)
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if not _is_plain(fields):
            return None
        left = _bounds_left(fields, so_far.tokens)
        if left is None:
            finish = _event(so_far, [{"index": 0, "delta": {}, "finish_reason": "length"}])
            return _ending(so_far, finish, "length", include_usage=include_usage)
        if so_far.text:
            fields["messages"] = _with_answer(fields["messages"], so_far.text)
    except (*_JSON_ERRORS, LookupError):
        return None
    continued = None
    if so_far.id:
        continued = Continued(
            id=so_far.id,
            created=so_far.created,
            completion_tokens=so_far.tokens,
            prompt_tokens=so_far.prompt_tokens,
            cached_tokens=so_far.cached_tokens,
        )
    if not so_far.text:
        return Continuation(body, continued)
    fields.update({name: msgspec.Raw(b"%d" % bound) for name, bound in left.items()})
    return Continuation(_encode(fields), continued)


def _ending(so_far: SoFar, data: bytes, reason: str, *, include_usage: bool) -> Ending:
    usage = so_far.usage
    if include_usage and usage is not None and not so_far.usage_told:
        data += _event(so_far, [], usage=usage_json(usage))
    return Ending(data, reason, usage)


def _is_plain(fields: dict[str, msgspec.Raw]) -> bool:
    """Tell whether the answer to a body is plain text and nothing else."""
    for name in _OF_ANOTHER_FORM & fields.keys():
        if msgspec.json.decode(fields[name]):
            return False
    choices = fields.get("n")
    if choices is not None and msgspec.json.decode(choices) not in (None, 1):
        return False
    form = fields.get("response_format")
    told = msgspec.json.decode(form) if form is not None else None
    return told is None or (isinstance(told, dict) and told.get("type") == "text")


def _bounds_left(fields: dict[str, msgspec.Raw], tokens: int) -> dict[str, int] | None:
    """Return the caller's bounds on new tokens less those it has; None where none is left.

    Of several upper bounds the first counts, as on the neuron; one that is not positive is none.
    """
    bounds: dict[str, int] = {}
    least = _number(fields, "min_tokens")
    if least is not None:
        bounds["min_tokens"] = max(int(least) - tokens, 0)
    for name in _TOKEN_BOUNDS:
        bound = msgspec.json.decode(fields[name]) if name in fields else None
        if bound is not None:
            if isinstance(bound, int | float) and bound > 0:
                bounds[name] = int(bound) - tokens
                return bounds if bounds[name] > 0 else None
            break
    return bounds


def _number(fields: dict[str, msgspec.Raw], name: str) -> int | float | None:
    value = msgspec.json.decode(fields[name]) if name in fields else None
    return value if isinstance(value, int | float) else None


def _with_answer(messages: msgspec.Raw, text: str) -> msgspec.Raw:
    """Return a conversation with the assistant's words so far at its end (else ValueError)."""
    turns = msgspec.json.decode(messages, type=list[msgspec.Raw])
    if msgspec.json.decode(turns[-1], type=_Role).role == "assistant":
        raise ValueError("the conversation ends with words that the answer continues already")
    turns.append(msgspec.Raw(_encode({"role": "assistant", "content": text})))
    return msgspec.Raw(_encode(turns))


class _Role(msgspec.Struct):
    role: str = ""


def _event(so_far: SoFar, choices: list[dict[str, Any]], **more: Any) -> bytes:
    chunk = {
        "id": so_far.id,
        "object": "chat.completion.chunk",
        "created": so_far.created,
        "model": so_far.model,
        "choices": choices,
        **more,
    }
    return event_of(_encode(chunk))
