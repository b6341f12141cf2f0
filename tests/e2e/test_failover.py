"""Neurons that die under load, beside one that has the same model: nobody notices."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helexa.model_runtime.echo_text import expected_text
from tests.e2e import roles
from tests.e2e.echoes import CHAT, body, echo, streams
from tests.e2e.polling import eventually, wait_until
from tests.e2e.stack import Stack, get
from tests.e2e.test_real_engine import CHAT as SMALL
from tests.e2e.test_real_engine import WEIGHTS
from tests.e2e.wire import Answer, Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
RATE = 40
TOLD_WITHIN_S = 2.0
PAIR = ("n1", "n2")
WHO = ("alice", "bob")


def holders(stack: Stack, model: str) -> list[str]:
    """Return the neurons that have a model loaded and are connected."""
    status, raw = get(stack.admin, "/api/v1/neurons")
    assert status == 200, raw
    return [
        neuron["id"]
        for neuron in json.loads(raw)["neurons"]
        if neuron["state"] == "connected"
        and neuron["models"].get(model, {}).get("state") == "loaded"
    ]


def have_on_both(stack: Stack, model: str) -> None:
    """Wait until both neurons have the model, also one that was killed before."""
    for name in PAIR:
        if not stack.neurons[name].runs:
            stack.neurons[name].start()
    wait_until(lambda: holders(stack, model) == list(PAIR), f"{model} on both", 90)
    stack.note_processes()


def twice(model: dict[str, Any]) -> dict[str, Any]:
    """Return a model's entry, for two replicas of it."""
    return {**model, "min_replicas": 2, "max_replicas": 2}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models = [
        twice(echo("pair", tokens_per_second=RATE)),
        twice(echo("slow", tokens_per_second=RATE, first_token_delay_ms=3000)),
        twice(echo("mortal", crash_on_prompt="boom")),
    ]
    with Stack(models, neurons=PAIR) as stack:
        yield stack


def lines_of(stack: Stack, request_ids: list[str]) -> list[str]:
    """Return the access log's lines of these requests."""
    wanted = set(request_ids)
    return [
        line
        for line in stack.cortex.log().splitlines()
        if any(f"request_id={name} " in f"{line} " for name in wanted)
    ]


def deltas_of(answer: Answer) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in answer.chunks if chunk["choices"]]


async def test_kill_9_of_a_neuron_under_64_streams_is_noticed_by_nobody(stack: Stack) -> None:
    """F01, P1: every stream goes on elsewhere, byte for byte, within two seconds."""
    await asyncio.to_thread(have_on_both, stack, "pair")
    async with streams(stack) as them:
        options = {"include_usage": True}
        ids = them.start("pair", 160, 64, stream_options=options)
        await them.flowing(ids)
        lost = "n1"
        orphans = roles.descendants(stack.neurons[lost].pid)
        before = {name: len(them.answers[name].chunks) for name in ids}
        stack.neurons[lost].kill()
        await eventually(
            lambda: all(len(them.answers[name].chunks) > before[name] + 1 for name in ids),
            "every stream goes on", TOLD_WITHIN_S,
        )  # fmt: skip
        await them.ended(ids, 30)
        them.assert_whole(ids)
        for name in ids:
            answer = them.answers[name]
            assert len({(chunk["id"], chunk["created"]) for chunk in answer.chunks}) == 1
            roles_told = [
                c for c in answer.chunks if c["choices"] and "role" in c["choices"][0]["delta"]
            ]
            assert len(roles_told) == 1
            assert answer.usage == {
                "prompt_tokens": 2, "completion_tokens": 160, "total_tokens": 162,
            }  # fmt: skip
        await asyncio.to_thread(roles.wait_gone, orphans, 5.0)
    resumed = [line for line in lines_of(stack, ids) if "resumed=1" in line]
    assert len(resumed) >= 20, f"{len(resumed)} of 64 streams were on {lost}"
    metrics = get(stack.gateway, "/metrics")[1].decode()
    assert f'helexa_failovers_total{{kind="resume",outcome="ok"}} {len(resumed)}.0' in metrics


async def test_before_the_first_byte_every_request_is_tried_elsewhere(stack: Stack) -> None:
    """F01: 100 % of them, streamed or not."""
    await asyncio.to_thread(have_on_both, stack, "slow")
    async with streams(stack) as them:
        ids = them.start("slow", 12, 24)
        whole = [
            asyncio.create_task(
                ask(
                    stack.gateway, "POST", CHAT, body("slow", 12, stream=False),
                    {"x-request-id": f"whole-{number}"},
                )
            )
            for number in range(24)
        ]  # fmt: skip
        await eventually(lambda: "at work" if active(stack) >= 48 else "", "all are at work", 20)
        stack.neurons["n2"].kill()
        await them.ended(ids, 30)
        them.assert_whole(ids)
        for number, task in enumerate(whole):
            answer = await task
            assert (answer.status, answer.ended) == (200, Ending.CLEAN), answer.body
            said = answer.json()["choices"][0]["message"]["content"]
            assert said == expected_text(f"whole-{number}", 12)
    names = [*ids, *(f"whole-{number}" for number in range(24))]
    tried = [line for line in lines_of(stack, names) if "attempts=2" in line]
    assert len(tried) >= 12


def active(stack: Stack) -> int:
    """Return how many requests are with neurons."""
    metrics = get(stack.gateway, "/metrics")[1].decode()
    lines = [line for line in metrics.splitlines() if line.startswith("helexa_requests_inflight{")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))


async def test_a_dying_engine_is_as_a_dying_neuron(stack: Stack) -> None:
    """R2.42: its neuron lives, starts it again, and nobody's stream is broken."""
    await asyncio.to_thread(have_on_both, stack, "pair")
    async with streams(stack) as them:
        ids = them.start("pair", 80, 16)
        await them.flowing(ids)
        for engine in stack.engines("n1"):
            process = roles.psutil.Process(engine)
            if "pair" in process.cmdline():
                process.kill()
        await them.ended(ids, 30)
        them.assert_whole(ids)
    assert [line for line in lines_of(stack, ids) if "resumed=1" in line]


async def test_a_query_of_death_meets_two_engines_of_the_fleet(stack: Stack) -> None:
    """F37: whoever asks, and however often; others are served."""
    await asyncio.to_thread(have_on_both, stack, "mortal")
    deadly = {**body("mortal", 3), "messages": [{"role": "user", "content": "boom"}]}
    for _ in range(8):
        answer = await ask(stack.gateway, "POST", CHAT, deadly)
        assert (answer.status, answer.code) == (502, "engine_crash"), answer.body
        assert answer.headers["x-should-retry"] == "false"
    crashes = [
        line
        for name in PAIR
        for line in stack.neurons[name].log().splitlines()
        if "engine_failed_request" in line and "model_id=mortal" in line
    ]
    assert len(crashes) == 2, crashes
    back = "model_id=mortal state=loaded"
    await eventually(
        lambda: all(stack.neurons[name].log().count(back) > 1 for name in PAIR), "both back", 60
    )
    await asyncio.to_thread(have_on_both, stack, "mortal")
    answer = await ask(stack.gateway, "POST", CHAT, body("mortal", 3))
    assert (answer.status, answer.done) == (200, True)


async def test_what_cannot_go_on_is_told_and_cut(stack: Stack) -> None:
    """P1: a completion is no conversation; its break is never a clean end."""
    await asyncio.to_thread(have_on_both, stack, "pair")
    answers = [Answer() for _ in range(8)]
    asked = {"model": "pair", "prompt": "go on", "max_tokens": 400, "stream": True}
    tasks = [
        asyncio.create_task(ask(stack.gateway, "POST", "/v1/completions", asked, {}, answer))
        for answer in answers
    ]
    await eventually(lambda: all(len(each.events) > 3 for each in answers), "text in each", 20)
    for name in PAIR:
        stack.neurons[name].kill()
    _, pending = await asyncio.wait(tasks, timeout=TOLD_WITHIN_S + 1)
    assert not pending
    assert all(each.ended is Ending.CUT and each.error is not None for each in answers)
    assert not any(each.done for each in answers)


# ── a line before one seat ────────────────────────────────────────────────────────────────────


async def test_a_key_that_asks_much_does_not_keep_another_one_waiting(tmp_path: Path) -> None:
    """Lessons 2, 21, 23: seats are shared between keys; a full line is 429 with Retry-After."""
    keys = tmp_path / "keys"
    digests = {who: hashlib.sha256(f"secret of {who}".encode()).hexdigest() for who in WHO}
    keys.write_text("".join(f"{who}: sha256:{digest}\n" for who, digest in digests.items()))
    keys.chmod(0o600)
    settings = {"auth": {"keys_file": str(keys)}, "gateway": {"queue_requests_max": 10}}
    alice, bob = ({"authorization": f"Bearer secret of {who}"} for who in WHO)
    narrow = Stack([echo("narrow", tokens_per_second=RATE, parallel=1)], cortex=settings)
    narrow.headers = alice
    with narrow:

        async def one(headers: dict[str, str]) -> Answer:
            return await ask(narrow.gateway, "POST", CHAT, body("narrow", 8), headers)

        many = [asyncio.create_task(one(alice)) for _ in range(13)]
        await eventually(lambda: queued(narrow) == 10, "a full line", 10)
        refused = await one(alice)
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        answer = await one(bob)
        assert (answer.status, answer.done) == (200, True)
        assert sum(task.done() for task in many) <= 6, "bob was let in before most of alice's"
        answers = await asyncio.gather(*many)
        # One of alice's made room for bob.
        assert sorted(each.status for each in answers) == [200] * 12 + [429]


def queued(stack: Stack) -> int:
    """Return how many requests wait for a seat."""
    status, raw = get(stack.admin, "/api/v1/status")
    assert status == 200, raw
    return int(json.loads(raw)["requests"]["queued"])


# ── a real engine ─────────────────────────────────────────────────────────────────────────────


async def test_a_real_stream_goes_on_on_another_neuron() -> None:
    """R2.42: llama.cpp twice; the stream ends properly, and nothing is doubled."""
    models = [twice({"id": SMALL, "options": {"context_tokens": 2048}})]
    settings = {"weights_dir": str(WEIGHTS), "engines": {"threads": 1}}
    real = Stack(models, neurons=PAIR, neuron=settings)
    real.ready_within_s = 240.0
    with real:
        await asyncio.to_thread(have_on_both, real, SMALL)
        asked = {
            "model": SMALL, "stream": True, "max_tokens": 160, "temperature": 0,
            "stream_options": {"include_usage": True}, "ignore_eos": True,
            "messages": [{"role": "user", "content": "Tell a long story about the sea."}],
        }  # fmt: skip
        answers = [Answer() for _ in range(4)]
        tasks = [
            asyncio.create_task(ask(real.gateway, "POST", CHAT, asked, {}, answer))
            for answer in answers
        ]
        await eventually(lambda: all(len(a.chunks) > 12 for a in answers), "words in each", 90)
        seen = [answer.text for answer in answers]
        real.neurons["n1"].kill()
        _, pending = await asyncio.wait(tasks, timeout=90)
        assert not pending
        for before, answer in zip(seen, answers, strict=True):
            assert_one_stream(before, answer)
        resumed = [line for line in real.cortex.log().splitlines() if "resumed=1" in line]
        assert resumed
        prompts = {answer.usage["prompt_tokens"] for answer in answers if answer.usage}
        assert len(prompts) == 1, "cut or not"
        told = {answer.text for answer in answers}
        assert max(map(len, told)) < 2 * min(map(len, told))


def assert_one_stream(before: str, answer: Answer) -> None:
    """It ended as a whole one does; what was seen of it stands, and nothing is said twice."""
    assert (answer.ended, answer.done, answer.error) == (Ending.CLEAN, True, None)
    assert answer.text.startswith(before)
    assert before not in answer.text[len(before) :]
    assert answer.finish_reason == "length"
    assert len({chunk["id"] for chunk in answer.chunks}) == 1
    deltas = deltas_of(answer)
    assert sum("role" in delta for delta in deltas) == 1
    usage = answer.usage
    assert usage is not None
    # By the engines' own counts: a piece may be several tokens, and a token no piece.
    assert usage["completion_tokens"] == 160
    assert 10 <= usage["prompt_tokens"] <= 60
