"""Routing by prompt saves work on real engines: two llama.cpp, one conversation after the other.

The gateway's own functions route and learn; only the network between is left out, so that the
counts are the same in every run.
"""

import json
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from helexa.cortex.gateway.affinity import prefix_of
from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.strategies import BUILT_IN, RoutingPolicy
from helexa.protocol.inference import Trailer
from helexa.protocol.workload import Operation
from tests.fakes.real_engine import EngineSettings, RealEngine, running
from tests.fakes.routing import idle, replica, request, snapshot
from tests.fakes.runnable_model import write_runnable_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NAMES = ("n1", "n2")
CONVERSATIONS, TURNS = 4, 6
LETTERS = "abcdefghijklmnopqrstuvwxyz "


def text(chance: random.Random, size: int) -> str:
    return "".join(chance.choices(LETTERS, k=size))


async def computed_tokens(strategy: str, engines: dict[str, RealEngine]) -> int:
    """Hold the conversations, a turn of each in shuffled order; return what engines had to read."""
    chance = random.Random(11)
    fleet = snapshot(*(replica(name) for name in engines))
    router = Router(BUILT_IN[strategy](RoutingPolicy()), strategy)
    talks = [[{"role": "user", "content": text(chance, 1200)}] for _ in range(CONVERSATIONS)]
    computed = 0
    for turn in range(TURNS):
        for talk in chance.sample(talks, len(talks)):
            body: dict[str, Any] = {"model": "m", "messages": talk, "max_tokens": 1}
            prefix = prefix_of(Operation.CHAT, "m", json.dumps(body).encode())
            asked = request(request_id=f"{turn}-{talks.index(talk)}", prefix=prefix)
            decision = route(asked, fleet, idle, router)
            assert isinstance(decision, RoutingDecision)
            router.sent(asked, decision)
            engine = engines[decision.replica.neuron_id]
            answer = await engine.post("/v1/chat/completions", {**body, "temperature": 0})
            router.ended(asked, decision, Trailer(duration_ms=100.0))
            usage = answer["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            computed += usage["prompt_tokens"] - cached
            talk.append({"role": "assistant", "content": "yes"})
            talk.append({"role": "user", "content": text(chance, 80)})
    return computed


async def test_a_conversation_is_read_once_where_round_robin_reads_it_again(tmp_path: Path) -> None:
    """R2.27, R2.38: the engines' own counts of cached tokens say so."""
    model = str(write_runnable_model(tmp_path / "runnable.gguf", context_tokens=8192))
    settings = EngineSettings(model, context_tokens=8192)
    counts = {}
    for strategy in BUILT_IN:
        async with AsyncExitStack() as stack:
            engines = {name: await stack.enter_async_context(running(settings)) for name in NAMES}
            counts[strategy] = await computed_tokens(strategy, engines)
    assert counts["default"] * 1.5 < counts["round_robin"], counts
