"""A cable that is pulled: nobody is told, and everybody has to find out by the silence."""

import asyncio
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import pytest

from tests.e2e import roles
from tests.e2e.echoes import echo, port_of, streams
from tests.e2e.fleets import engines, neuron_state, replicas, routed, settled
from tests.e2e.netns import Cable, NotPermittedError, cable
from tests.e2e.polling import eventually
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RATE = 40
LOST_WITHIN_S = 15.0
BACK_WITHIN_S = 16.0
NOTICE_S = 2.0
"""What watching costs: a heartbeat's fraction, and our own looking."""


@dataclass
class Divided:
    """A cortex with a neuron beside it and one at the end of a cable."""

    stack: Stack
    cable: Cable


@pytest.fixture(scope="module")
def divided() -> Iterator[Divided]:
    with contextlib.ExitStack() as stacked:
        try:
            line = stacked.enter_context(cable())
        except NotPermittedError as error:
            pytest.skip(str(error))
        model = {**echo("parrot", tokens_per_second=RATE), "min_replicas": 2, "max_replicas": 2}
        settings = {"control_plane": {"allow_open": True}}
        stack = Stack([model], neurons=(), cortex=settings, control_host=line.near)
        for name in ("near", "far"):
            neuron = stack.add_neuron(name, {"allow_cleartext": True})
            if name == "far":
                neuron.arguments = [*line.prefix, *neuron.arguments]
        yield Divided(stacked.enter_context(stack), line)


def far_requests(divided: Divided) -> dict[str, int]:
    """Return how often each request reached the engine at the far end, and its active ones."""
    (engine,) = roles.engines_of(divided.stack.neurons["far"].pid)
    url = f"http://127.0.0.1:{port_of(psutil.Process(engine))}/stats"
    read = (
        "import sys,urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())"
    )
    python = divided.stack.neurons["near"].arguments[0]
    done = subprocess.run(
        [*divided.cable.prefix, python, "-c", read, url], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    counts = {name: told["request_ids"].count(name) for name in told["request_ids"]}
    return {**counts, "active": told["active"]}


async def test_a_pulled_cable_is_noticed_told_and_healed_without_a_reload(
    divided: Divided,
) -> None:
    """R2.42: lost within 15 s, back within 16 s; nothing is delivered twice."""
    stack = divided.stack
    await settled(stack, "parrot", 2)
    before = engines(stack)
    async with streams(stack) as them:
        ids = them.start("parrot", 1000, 64)
        await them.flowing(ids)
        where = routed(stack, ids)
        victims = [name for name in ids if where[name] == "far"]
        assert len(victims) >= 16
        divided.cable.pull()
        pulled = time.monotonic()
        await eventually(
            lambda: neuron_state(stack, "far") == "suspect", "its silence seen", LOST_WITHIN_S
        )
        fresh = them.start("parrot", 10, 16)
        await them.ended(fresh, 10)
        them.assert_whole(fresh)
        assert set(routed(stack, fresh).values()) == {"near"}
        await eventually(lambda: neuron_state(stack, "far") == "gone", "it is lost", LOST_WITHIN_S)
        lost_s = time.monotonic() - pulled
        assert lost_s <= LOST_WITHIN_S + NOTICE_S
        divided.cable.plug()
        plugged = time.monotonic()
        await eventually(
            lambda: "far" in replicas(stack, "parrot"), "it is back", BACK_WITHIN_S + NOTICE_S
        )
        assert time.monotonic() - plugged <= BACK_WITHIN_S + NOTICE_S
        assert engines(stack) == before, "no reload"
        await them.ended(ids, 40)
        them.assert_whole([name for name in ids if name not in victims])
        for name in victims:
            if them.answers[name].done:
                them.assert_whole([name])
            else:
                them.assert_broken_and_told([name])
        await eventually(
            lambda: far_requests(divided)["active"] == 0, "no work left at the far end", 10
        )
        twice = [n for n, count in far_requests(divided).items() if count > 1 and n != "active"]
        assert not twice
        again = them.start("parrot", 10, 16)
        await them.ended(again, 20)
        them.assert_whole(again)
    assert set((await asyncio.to_thread(routed, stack, again)).values()) == {"near", "far"}
