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
SYSTEM_WORDS = 30
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

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that an engine had to read, being in no cache."""
        return self.prompt_tokens - self.cached_tokens

    @property
    def mean_first_token_s(self) -> float:
        """Mean time to the first token."""
        return sum(self.first_token_s) / len(self.first_token_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """How many conversations of how many turns, how much each turn adds, how many at once."""

    conversations: int = 40
    turns: int = 8
    words_per_turn: int = 50
    at_once: int = 4
    seed: int = 7


def text_of(chance: random.Random, words: int) -> str:
    """Return so many words."""
    return " ".join(chance.choices(WORDS, k=words))


async def hold(plan: Plan, url: str, model: str) -> Tally:
    """Hold all conversations, a turn of each in a shuffled order, then the next turn of each."""
    chance = random.Random(plan.seed)
    system = {"role": "system", "content": text_of(chance, SYSTEM_WORDS)}
    talks: list[list[dict[str, str]]] = [[system] for _ in range(plan.conversations)]
    tally = Tally()
    gate = asyncio.Semaphore(plan.at_once)
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:

        async def turn(talk: list[dict[str, str]], question: str) -> None:
            async with gate:
                talk.append({"role": "user", "content": question})
                answer = await ask(http, url, {"model": model, "messages": talk}, tally)
                talk.append({"role": "assistant", "content": answer})

        for _ in range(plan.turns):
            order = chance.sample(talks, len(talks))
            questions = [text_of(chance, plan.words_per_turn) for _ in order]
            async with asyncio.TaskGroup() as group:
                for talk, question in zip(order, questions, strict=True):
                    group.create_task(turn(talk, question))
    return tally


async def ask(http: aiohttp.ClientSession, url: str, body: dict[str, Any], tally: Tally) -> str:
    """Send one streamed request, count what it cost, and return the answer's text."""
    options = {"include_usage": True}
    whole = {**body, "stream": True, "stream_options": options, "temperature": 0.0}
    whole["max_tokens"] = ANSWER_TOKENS
    started_s = time.monotonic()
    parts: list[str] = []
    async with http.post(f"{url}/v1/chat/completions", json=whole) as answer:
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {(await answer.text())[:300]}")
        route = answer.headers.get("x-helexa-route", "")
        reason = route.partition("reason=")[2].partition(";")[0]
        tally.reasons[reason] = tally.reasons.get(reason, 0) + 1
        async for line in answer.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            for choice in chunk.get("choices", ()):
                content = choice["delta"].get("content")
                if content:
                    if not parts:
                        tally.first_token_s.append(time.monotonic() - started_s)
                    parts.append(content)
            usage = chunk.get("usage")
            if usage:
                details = usage.get("prompt_tokens_details") or {}
                tally.prompt_tokens += usage["prompt_tokens"]
                tally.cached_tokens += details.get("cached_tokens", 0)
    return "".join(parts)
