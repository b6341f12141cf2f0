"""Conversations of growing length, and the clients that hold them over a gateway."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp

WORDS = (
    "amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty",
    "knoll", "lagoon", "meadow", "nook", "orchard", "prairie", "quarry", "ridge", "summit",
    "thicket", "upland", "valley", "willow", "yonder", "zenith",
)  # fmt: skip
ANSWER_TOKENS = 8
REQUEST_TIMEOUT_S = 300.0


@dataclass(slots=True)
class Tally:
    """What the requests of one run came to."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    first_token_s: list[float] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    """How often a request went where it went for which reason."""
    fresh_tokens: int = 0
    """Prompt tokens that were in no earlier request or answer of the same conversation."""
    moved: int = 0
    """Requests that went elsewhere than the one before in the same conversation."""
    moved_tokens: int = 0
    """What those had to read again, and with it what the conversation had added elsewhere."""
    forgotten_tokens: int = 0
    """What was read again where the conversation had just been: its engine had not kept it."""
    system_tokens: int = 0
    """The beginning that all conversations have in common."""

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that an engine had to read, being in no cache."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def mean_first_token_s(self) -> float:
        """Mean time to the first token."""
        return sum(self.first_token_s) / len(self.first_token_s)

    def least_tokens(self, conversations: int, replicas: int) -> int:
        """What had to be read if conversations never moved and nothing was ever forgotten.

        Each replica reads the common beginning once.
        """
        return self.fresh_tokens - max(conversations - replicas, 0) * self.system_tokens


@dataclass(frozen=True, slots=True)
class Plan:
    """How many conversations of how many turns, how much each turn adds, how many at once."""

    conversations: int = 40
    turns: int = 8
    words_per_turn: int = 50
    system_words: int = 30
    at_once: int = 4
    seed: int = 7
    tells_session: bool = False
    """Each conversation names itself in a header."""


@dataclass(slots=True)
class Talk:
    """One conversation so far."""

    name: str
    messages: list[dict[str, str]]
    neuron: str = ""
    """Where it was last."""
    known_tokens: int = 0
    """Of its last prompt and answer."""


def text_of(chance: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(chance.choices(WORDS, k=words))


async def hold(plan: Plan, url: str, model: str) -> Tally:
    """Hold all conversations, a turn of each in a shuffled order, then the next turn of each."""
    chance = random.Random(plan.seed)
    system = {"role": "system", "content": text_of(chance, plan.system_words)}
    talks = [Talk(f"conversation-{i}", [system]) for i in range(plan.conversations)]
    tally = Tally()
    gate = asyncio.Semaphore(plan.at_once)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:

        async def turn(talk: Talk, question: str) -> None:
            async with gate:
                talk.messages.append({"role": "user", "content": question})
                headers = {"x-session-id": talk.name} if plan.tells_session else {}
                answer = await ask(http, url, headers, {"model": model, "messages": talk.messages})
                count(tally, talk, answer)
                talk.messages.append({"role": "assistant", "content": answer.text})

        for _ in range(plan.turns):
            order = chance.sample(talks, len(talks))
            questions = [text_of(chance, plan.words_per_turn) for _ in order]
            async with asyncio.TaskGroup() as group:
                for talk, question in zip(order, questions, strict=True):
                    group.create_task(turn(talk, question))
        alone = await ask(http, url, {}, {"model": model, "messages": [system]})
        tally.system_tokens = alone.prompt_tokens
    return tally


@dataclass(slots=True)
class Answer:
    """What one request came to."""

    neuron: str
    reason: str
    text: str = ""
    first_token_s: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


def count(tally: Tally, talk: Talk, answer: Answer) -> None:
    """Add one answer, and note in the conversation what is known of it now."""
    fresh = answer.prompt_tokens - talk.known_tokens
    again = max(answer.prompt_tokens - answer.cached_tokens - fresh, 0)
    tally.prompt_tokens += answer.prompt_tokens
    tally.cached_tokens += answer.cached_tokens
    tally.fresh_tokens += fresh
    tally.reasons[answer.reason] = tally.reasons.get(answer.reason, 0) + 1
    if answer.first_token_s is not None:
        tally.first_token_s.append(answer.first_token_s)
    if talk.neuron == answer.neuron:
        tally.forgotten_tokens += again
    elif talk.neuron:
        tally.moved += 1
        tally.moved_tokens += again
    talk.neuron = answer.neuron
    talk.known_tokens = answer.prompt_tokens + answer.completion_tokens


async def ask(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any]
) -> Answer:
    """Send one streamed request and return what came of it. Raises RuntimeError for a refusal."""
    options = {"include_usage": True}
    whole = {**body, "stream": True, "stream_options": options, "temperature": 0.0}
    whole["max_tokens"] = ANSWER_TOKENS
    started_s = time.monotonic()
    async with http.post(f"{url}/v1/chat/completions", json=whole, headers=headers) as response:
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {(await response.text())[:300]}")
        neuron, _, rest = response.headers.get("x-helexa-route", "").partition(";reason=")
        answer = Answer(neuron, rest.partition(";")[0])
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            for choice in chunk.get("choices", ()):
                content = choice["delta"].get("content")
                if content:
                    if answer.first_token_s is None:
                        answer.first_token_s = time.monotonic() - started_s
                    answer.text += content
            usage = chunk.get("usage")
            if usage:
                details = usage.get("prompt_tokens_details") or {}
                answer.prompt_tokens = usage["prompt_tokens"]
                answer.completion_tokens = usage["completion_tokens"]
                answer.cached_tokens = details.get("cached_tokens", 0)
    return answer
