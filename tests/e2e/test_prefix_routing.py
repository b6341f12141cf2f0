"""Routing by prompt saves work on real engines: four llama.cpp, one request after the other.

The gateway's own functions route and learn, and the engines run as a neuron starts them; only the
network between is left out, so that the counts are the same in every run.
"""

import json
import random
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from helexa.cortex.gateway.affinity import prefix_of
from helexa.cortex.orchestrator.requests import RoutingDecision
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.scheduler import route
from helexa.cortex.orchestrator.strategies import BUILT_IN, RoutingPolicy
from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.interfaces import WeightsSummary
from helexa.protocol.inference import Trailer
from helexa.protocol.model import ModelConfig
from helexa.protocol.workload import Operation
from tests.fakes.engine_process import EngineProcess, running
from tests.fakes.routing import idle, replica, request, snapshot
from tests.fakes.runnable_model import WIDTH, write_runnable_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NAMES = ("n1", "n2", "n3", "n4")
TURNS = 8
LETTERS = "abcdefghijklmnopqrstuvwxyz "
MODEL = ModelConfig(id="m", engine="llamacpp", source="x", options={"context_tokens": 4096})
WEIGHTS = WeightsSummary(
    architecture="llama",
    weights_bytes=300_000,
    context_tokens_trained=4096,
    kv_bytes_per_token_f16=256,
    embedding_dimensions=WIDTH,
    layers=2,
    is_embedder=False,
)


@dataclass(frozen=True)
class Plan:
    conversations: int
    system_letters: int
    """What all conversations begin with; a letter is a token."""
    turn_letters: int


def text(chance: random.Random, size: int) -> str:
    return "".join(chance.choices(LETTERS, k=size))


def computed_tokens(strategy: str, engines: Mapping[str, EngineProcess], plan: Plan) -> int:
    """Hold the conversations, a turn of each in shuffled order; return what engines had to read."""
    chance = random.Random(11)
    router = Router(BUILT_IN[strategy](RoutingPolicy()), strategy)
    system = {"role": "system", "content": text(chance, plan.system_letters)}
    talks = [[system] for _ in range(plan.conversations)]
    computed = 0
    for turn in range(TURNS):
        for talk in chance.sample(talks, len(talks)):
            talk.append({"role": "user", "content": text(chance, plan.turn_letters)})
            fields = {"model": "m", "messages": talk, "max_tokens": 1, "temperature": 0}
            body = json.dumps(fields).encode()
            asked = request(
                request_id=f"{turn}-{chance.random()}",
                prefix=prefix_of(Operation.CHAT, "m", body),
                prompt_bytes=len(body),
            )
            fleet = snapshot(*(replica(name) for name in engines))
            decision = route(asked, fleet, idle, router)
            assert isinstance(decision, RoutingDecision)
            router.sent(asked, decision)
            _, ending = engines[decision.replica.neuron_id].ask(fields)
            assert ending.usage is not None
            router.ended(asked, decision, Trailer(duration_ms=100.0))
            computed += ending.usage.prompt_tokens - ending.usage.cached_tokens
            talk.append({"role": "assistant", "content": "yes"})
    return computed


@pytest.mark.parametrize(
    "plan",
    [Plan(12, 100, 150), Plan(24, 600, 80)],
    ids=["long turns", "a long system prompt"],
)
def test_a_conversation_is_read_once_where_round_robin_reads_it_again(
    tmp_path: Path, plan: Plan
) -> None:
    """R2.27, R2.38: the engines' own counts of cached tokens say so."""
    weights_path = write_runnable_model(tmp_path / "runnable.gguf")
    counts = {}
    for strategy in BUILT_IN:
        with ExitStack() as stack:
            engines = {
                name: stack.enter_context(
                    running(LlamaCpp(), MODEL, tmp_path, weights_path=weights_path, weights=WEIGHTS)
                )
                for name in NAMES
            }
            counts[strategy] = computed_tokens(strategy, engines, plan)
    assert counts["default"] * 2 < counts["round_robin"], counts
