"""Engines that die, hang or talk nonsense, as real processes behind a real cortex and neuron.

R1.16, R1.44: replies of the echo engine are deterministic, so every wrong byte shows.
"""

import signal
from collections.abc import Iterator

import openai
import pytest

from tests.e2e.echoes import Streams, body, echo, engine_of, neuron_with, port_of, stats, streams
from tests.e2e.polling import eventually
from tests.e2e.stack import Stack
from tests.e2e.wire import Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RATE = 40
GARBAGE = ("invalid_utf8", "half_json", "long_line", "wrong_shape")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models = [
        echo("steady", tokens_per_second=RATE),
        echo("victim", tokens_per_second=RATE),
        echo("crash", tokens_per_second=RATE, crash_at_token=10),
        echo("truncate", tokens_per_second=RATE, truncate_at_token=10),
        echo("stall", tokens_per_second=RATE, stall_at_token=10),
        echo("failing", error_status=500),
        echo("deadly", crash_on_prompt="kaboom"),
        *(echo(kind, garbage_at_token=8, garbage=kind, tokens_per_second=RATE) for kind in GARBAGE),
    ]
    with Stack(models, neuron={"timeouts": {"stall_s": 2.0, "drain_s": 5.0}}) as stack:
        yield stack


def test_echo_replies_are_the_same_every_time(stack: Stack) -> None:
    """R1.44, R1.47: chat and embeddings, deterministic, through the official client."""
    url = f"{stack.base_url}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        said = [
            client.chat.completions.create(
                model="steady", messages=[{"role": "user", "content": "go on"}], max_tokens=5,
                extra_headers={"x-request-id": "fixed"},
            ).choices[0].message.content
            for _ in range(2)
        ]  # fmt: skip
        assert said[0] == said[1]
        vectors = [
            client.embeddings.create(model="steady", input="cat").data[0].embedding
            for _ in range(2)
        ]
        assert vectors[0] == vectors[1]
        assert len(vectors[0]) == 384


async def test_64_streams_are_byte_exact(stack: Stack) -> None:
    async with streams(stack) as them:
        ids = them.start("steady", 60, 64)
        await them.ended(ids, 30)
        them.assert_whole(ids)


async def test_kill_9_of_an_engine_mid_stream_is_told_to_its_streams_and_to_no_other(
    stack: Stack,
) -> None:
    async with streams(stack) as them:
        survivors = them.start("steady", 160, 32)
        victims = them.start("victim", 4000, 32)
        await them.flowing([*survivors, *victims])
        engine = engine_of(stack, "victim")
        engine.kill()
        await them.ended(victims, 5)
        them.assert_broken_and_told(victims)
        await them.ended(survivors, 30)
        them.assert_whole(survivors)
        # It is started again by itself, as another process.
        await eventually(lambda: stack.states()["victim"] == "loaded", "victim loaded again", 30)
        assert engine_of(stack, "victim").pid != engine.pid
        again = them.start("victim", 10, 4)
        await them.ended(again, 20)
        them.assert_whole(again)


async def test_the_official_client_raises_when_an_engine_dies_mid_stream(stack: Stack) -> None:
    await eventually(lambda: stack.states()["victim"] == "loaded", "victim loaded", 30)
    url = f"{stack.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="victim", messages=[{"role": "user", "content": "go on"}],
            max_tokens=4000, stream=True,
        )  # fmt: skip
        assert await anext(aiter(stream))
        engine_of(stack, "victim").kill()
        with pytest.raises(openai.APIError):
            [chunk async for chunk in stream]


async def _others_are_untouched(stack: Stack, model: str, them: Streams) -> list[str]:
    beside = them.start("steady", 100, 16)
    await them.flowing(beside)
    bad = them.start(model, 40, 4)
    await them.ended(bad, 20)
    await them.ended(beside, 20)
    them.assert_whole(beside)
    return bad


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_ends_that_stream_only_and_never_reaches_its_caller(
    stack: Stack, kind: str
) -> None:
    async with streams(stack) as them:
        bad = await _others_are_untouched(stack, kind, them)
        them.assert_broken_and_told(bad)
        for name in bad:
            assert b"\xff" not in them.answers[name].body
            assert len(them.answers[name].body) < 1 << 20


async def test_a_body_that_ends_early_but_politely_is_not_taken_for_an_answer(
    stack: Stack,
) -> None:
    """A clean end without `[DONE]` is silent loss in every SDK."""
    async with streams(stack) as them:
        bad = await _others_are_untouched(stack, "truncate", them)
        them.assert_broken_and_told(bad)
    whole = await ask(stack.gateway, "POST", CHAT, body("truncate", 40, stream=False))
    assert whole.status in {502, 503}, whole.body  # 503: a replica that failed thrice rests


async def test_a_crash_at_token_ten_is_told_and_the_engine_comes_back(stack: Stack) -> None:
    await eventually(lambda: stack.states()["crash"] == "loaded", "crash loaded", 60)
    async with streams(stack) as them:
        bad = await _others_are_untouched(stack, "crash", them)
        for name in bad:
            them.assert_not_mistaken(name)
            answer = them.answers[name]
            assert answer.ended is Ending.CUT or answer.status in {502, 503}, answer.body
        await eventually(lambda: stack.states()["crash"] == "loaded", "crash loaded again", 60)


async def test_an_engine_that_falls_silent_is_cut_at_the_stall_limit(stack: Stack) -> None:
    async with streams(stack) as them:
        bad = await _others_are_untouched(stack, "stall", them)
        them.assert_broken_and_told(bad)
        for name in bad:
            assert them.answers[name].text.count(" ") == 10


async def test_a_stopped_engine_is_replaced_and_waking_it_changes_nothing(stack: Stack) -> None:
    """F03: SIGSTOP mid-stream. The heartbeat goes on; the neuron is never lost."""
    await eventually(lambda: stack.states()["victim"] == "loaded", "victim loaded", 30)
    async with streams(stack) as them:
        beside = them.start("steady", 200, 8)
        victims = them.start("victim", 4000, 32)
        await them.flowing([*beside, *victims])
        engine = engine_of(stack, "victim")
        engine.suspend()
        try:
            await them.ended(victims, 12)
            them.assert_broken_and_told(victims)
            await eventually(lambda: not engine.is_running(), "the hung engine is killed", 15)
        finally:
            if engine.is_running():
                engine.send_signal(signal.SIGCONT)
        await eventually(lambda: stack.states()["victim"] == "loaded", "victim loaded again", 30)
        assert engine_of(stack, "victim").pid != engine.pid
        await them.ended(beside, 20)
        them.assert_whole(beside)
    assert neuron_with(stack, "steady") == "n1"


async def test_a_query_of_death_kills_two_engines_at_most(stack: Stack) -> None:
    """F37: then it is refused, and everybody else is served."""
    messages = [{"role": "user", "content": "kaboom"}]
    deadly = {"model": "deadly", "messages": messages, "max_tokens": 3}
    seen = {engine_of(stack, "deadly").pid}
    codes = []
    for _ in range(5):
        await eventually(lambda: stack.states()["deadly"] == "loaded", "deadly loaded", 60)
        seen.add(engine_of(stack, "deadly").pid)
        answer = await ask(stack.gateway, "POST", CHAT, deadly)
        codes.append((answer.status, answer.code))
        if len(codes) < 3:
            await eventually(lambda: stack.states()["deadly"] != "loaded", "its end is seen", 10)
    assert len(seen) == 3, "two engines died, the third lives"
    assert {code for _, code in codes} == {"engine_crash"}, codes
    async with streams(stack) as them:
        ids = them.start("deadly", 5, 4)
        await them.ended(ids, 20)
        them.assert_whole(ids)


async def test_an_engine_s_own_500_is_an_error_with_our_envelope(stack: Stack) -> None:
    for stream in (False, True):
        answer = await ask(stack.gateway, "POST", CHAT, body("failing", 4, stream=stream))
        assert answer.status in {500, 502}, answer.body
        assert set(answer.json()["error"]) >= {"message", "type", "code", "param"}
        assert "127.0.0.1" not in answer.body.decode()


async def test_a_request_that_failed_did_not_reach_the_engine_twice(stack: Stack) -> None:
    """An engine that answered is not asked again: it may have done the work."""
    port = port_of(engine_of(stack, "failing"))
    await ask(stack.gateway, "POST", CHAT, body("failing", 4), {"x-request-id": "once"})
    assert list(stats(port)["request_ids"]).count("once") == 1


async def test_requests_that_wait_for_an_engine_that_dies_fail_fast_with_its_reason() -> None:
    """F05: 50 requests wait for a model whose engine exits at its start; none hangs."""
    models = [echo("broken", exit_on_start=3), echo("good")]
    settings = {"provisioning": {"preload": False}, "gateway": {"hold_for_load_s": 60.0}}
    with Stack(models, cortex=settings, wait_for=()) as stack:
        async with streams(stack) as them:
            ids = them.start("broken", 4, 50, stream=True)
            await them.ended(ids, 15)
            for name in ids:
                answer = them.answers[name]
                assert answer.status == 503 or answer.error is not None, answer.body
                told = answer.json()["error"] if answer.status == 503 else answer.error
                assert "3" in told["message"], told
                if answer.status == 503:
                    assert 1 <= int(answer.headers["retry-after"]) <= 30
            good = them.start("good", 4, 4)
            await them.ended(good, 20)
            them.assert_whole(good)
