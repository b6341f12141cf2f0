"""Several neurons at once: routing, drains, neurons that die and come back, cortex anew.

Four neurons run echo engines, whose every byte is known; two run llama.cpp.
"""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.e2e.echoes import CHAT, body, echo, streams
from tests.e2e.fleets import (
    admin,
    engines,
    helexa,
    neuron_state,
    post,
    replicas,
    routed,
    settled,
)
from tests.e2e.polling import eventually
from tests.e2e.roles import ROOT
from tests.e2e.stack import Stack
from tests.e2e.wire import Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RATE = 40
REPLICAS = 3
REAL = "smollm2-135m"
ECHOES = ("n1", "n2", "n3", "n4")
LLAMAS = ("l1", "l2")
TOLD_WITHIN_S = 2.0
ROUTABLE_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models = [
        {**echo("parrot", tokens_per_second=RATE), "min_replicas": REPLICAS,
         "max_replicas": REPLICAS},
        {"id": REAL, "options": {"context_tokens": 1024, "parallel": 2}, "min_replicas": 2,
         "max_replicas": 2},
    ]  # fmt: skip
    liveness = {"control_plane": {"heartbeat_interval_s": 0.5, "suspect_after_s": 2.0}}
    stack = Stack(models, neurons=(), cortex=liveness)
    for name in ECHOES:
        stack.add_neuron(name, {"engines": {"allowed": ["echo"]}})
    for name in LLAMAS:
        weights = str(ROOT / ".make" / "models")
        settings = {"engines": {"allowed": ["llamacpp"], "threads": 1}, "weights_dir": weights}
        stack.add_neuron(name, settings)
    stack.ready_within_s = 240.0  # the first run fetches 95 MB
    with stack:
        yield stack


async def whole_fleet(stack: Stack) -> list[str]:
    """Wait until everything runs; return the neurons that serve the echo model."""
    await settled(stack, REAL, len(LLAMAS))
    return await settled(stack, "parrot", REPLICAS)


async def test_requests_go_to_every_replica_of_their_model(stack: Stack) -> None:
    """R2.1, R2.38, R2.41: each to a neuron that can, and to the one that has the least to do."""
    serving = await whole_fleet(stack)
    async with streams(stack) as them:
        ids = them.start("parrot", 60, 48)
        await them.ended(ids, 30)
        them.assert_whole(ids)
    shares = Counter(routed(stack, ids).values())
    assert set(shares) == set(serving)
    assert max(shares.values()) <= 2 * min(shares.values()), shares
    real = [{"x-request-id": f"real-{number}"} for number in range(4)]
    asked = [ask(stack.gateway, "POST", CHAT, body(REAL, 8), headers) for headers in real]
    answers = await asyncio.gather(*asked)
    assert all(answer.done and answer.text for answer in answers)
    names = [headers["x-request-id"] for headers in real]
    assert set(routed(stack, names).values()) == set(LLAMAS)


async def test_what_was_decided_is_explained_on_the_command_line(stack: Stack) -> None:
    serving = await whole_fleet(stack)
    await ask(stack.gateway, "POST", CHAT, body("parrot", 3), {"x-request-id": "why"})
    status, told = await helexa(stack, "explain", "request", "why")
    assert status == 0, told
    assert "ok 200" in told
    assert all(name in told for name in serving)
    assert (await helexa(stack, "explain", "request", "never"))[0] == 3
    status, told = await helexa(stack, "inspect", "model", REAL)
    assert status == 0, told
    assert "memory measured" in told


async def test_a_drain_under_load_moves_the_model_and_fails_no_request(stack: Stack) -> None:
    """R2.5, R2.39."""
    serving = await whole_fleet(stack)
    (spare,) = set(ECHOES) - set(serving)
    leaving = serving[0]
    async with streams(stack) as them:
        before = them.start("parrot", 160, 24)
        await them.flowing(before)
        drain = asyncio.create_task(helexa(stack, "neuron", "drain", leaving, "--wait"))
        during: list[str] = []
        while not drain.done():
            during += them.start("parrot", 10, 4)
            await them.ended(during, 20)
        status, told = await drain
        assert status == 0, told
        assert f"{leaving} is drained: nothing runs there" in told
        assert all(them.tasks[name].done() for name in before if _went_to(stack, name, leaving))
        await them.ended(before, 20)
        them.assert_whole([*before, *during])
    assert engines(stack)[leaving] == {}
    assert set(await settled(stack, "parrot", REPLICAS)) == {*serving[1:], spare}
    assert (await helexa(stack, "neuron", "uncordon", leaving))[0] == 0
    await eventually(lambda: not admin(stack, f"neurons/{leaving}")["cordoned"], "the mark off", 5)


def _went_to(stack: Stack, request_id: str, neuron: str) -> bool:
    return routed(stack, [request_id])[request_id] == neuron


async def test_a_silent_neuron_gets_nothing_and_is_used_again_when_it_is_heard(
    stack: Stack,
) -> None:
    """R2.40, R2.42: nobody waits for it, and it is back without a reload."""
    serving = await whole_fleet(stack)
    silent, before = serving[0], engines(stack)
    stack.neurons[silent].signal(signal.SIGSTOP)
    try:
        await eventually(lambda: neuron_state(stack, silent) == "suspect", "its silence seen", 10)
        async with streams(stack) as them:
            ids = them.start("parrot", 10, 32)
            await them.ended(ids, 15)
            them.assert_whole(ids)
        assert silent not in routed(stack, ids).values()
    finally:
        stack.neurons[silent].signal(signal.SIGCONT)
    await eventually(lambda: neuron_state(stack, silent) == "connected", "it is heard again", 20)
    assert silent in await whole_fleet(stack)
    assert engines(stack) == before
    async with streams(stack) as them:
        ids = them.start("parrot", 10, 32)
        await them.ended(ids, 15)
        them.assert_whole(ids)
    assert silent in routed(stack, ids).values()


async def test_kill_9_of_a_neuron_under_64_streams_spares_the_others_and_lies_to_nobody(
    stack: Stack,
) -> None:
    """R2.42: survivors byte for byte; victims go on elsewhere or are told, within two seconds."""
    serving = await whole_fleet(stack)
    killed = serving[0]
    async with streams(stack) as them:
        ids = them.start("parrot", 200, 64)
        await them.flowing(ids)
        where = routed(stack, ids)
        victims = [name for name in ids if where[name] == killed]
        assert victims
        stack.neurons[killed].kill()
        killed_at = time.monotonic()
        await them.ended(ids, 40)
        them.assert_whole([name for name in ids if name not in victims])
        broken = [name for name in victims if them.answers[name].ended is not Ending.CLEAN]
        them.assert_broken_and_told(broken)
        them.assert_whole([name for name in victims if name not in broken])
        late = [n for n in broken if them.answers[n].ended_at - killed_at > TOLD_WITHIN_S]
        assert not late
        fresh = them.start("parrot", 10, 16)
        await them.ended(fresh, 20)
        them.assert_whole(fresh)
    assert killed not in routed(stack, fresh).values()
    stack.neurons[killed].start()
    await eventually(lambda: neuron_state(stack, killed) == "connected", "it is back", 20)
    await whole_fleet(stack)


async def test_cortex_killed_and_restarted_reloads_nothing_and_keeps_its_marks(
    stack: Stack,
) -> None:
    """The same engine processes; models are routable within five seconds."""
    serving = await whole_fleet(stack)
    (spare,) = set(ECHOES) - set(serving)
    post(stack, f"neurons/{spare}/cordon")
    memory = stack.folder / "cortex-state" / "fleet.json"
    await eventually(lambda: '"cordoned":true' in memory.read_text(), "the mark kept", 15)
    before = engines(stack)
    stack.cortex.kill()
    stack.cortex.start()
    started = time.monotonic()
    await eventually(lambda: replicas(stack, "parrot"), "a replica known", ROUTABLE_WITHIN_S * 4)
    answer = await ask(stack.gateway, "POST", CHAT, body("parrot", 3))
    routable_s = time.monotonic() - started
    assert answer.done, answer.body
    assert sorted(await whole_fleet(stack)) == sorted(serving)
    assert engines(stack) == before
    await eventually(lambda: neuron_state(stack, spare) == "connected", "the spare is back", 20)
    assert admin(stack, f"neurons/{spare}")["cordoned"]
    post(stack, f"neurons/{spare}/uncordon")
    assert routable_s <= ROUTABLE_WITHIN_S, f"routable after {routable_s:.1f} s"
