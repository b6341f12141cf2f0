"""A cortex that dies, restarts and stops: the fleet goes on, and nobody is lied to."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.echoes import CHAT, body, echo, engine_of, port_of, stats, streams
from tests.e2e.polling import eventually
from tests.e2e.roles import Role
from tests.e2e.stack import Stack
from tests.e2e.wire import Ending, ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
RATE = 40


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    models = [echo("one", tokens_per_second=RATE), echo("two", tokens_per_second=RATE)]
    with Stack(models) as stack:
        yield stack


def engines(stack: Stack) -> dict[int, float]:
    """Return each engine's process with its birth: a reload changes one or the other."""
    return {pid: psutil.Process(pid).create_time() for pid in stack.engines()}


async def test_kill_9_of_cortex_mid_stream_ends_no_stream_cleanly_and_unloads_nothing(
    stack: Stack,
) -> None:
    """P4: the neuron keeps its engines and joins the next cortex within seconds."""
    before = engines(stack)
    async with streams(stack) as them:
        ids = them.start("one", 4000, 64)
        await them.flowing(ids)
        stack.cortex.kill()
        await them.ended(ids, 5)
        for name in ids:
            assert them.answers[name].ended is Ending.CUT
            them.assert_not_mistaken(name)
        stack.cortex.start()
        await eventually(lambda: set(stack.states().values()) == {"loaded"}, "the fleet known", 15)
        again = them.start("one", 10, 16)
        await them.ended(again, 10)
        them.assert_whole(again)
    assert engines(stack) == before


async def test_a_cut_caller_s_work_is_given_up_by_the_engine(stack: Stack) -> None:
    port = port_of(engine_of(stack, "one"))
    async with streams(stack) as them:
        ids = them.start("one", 4000, 8)
        await them.flowing(ids)
        stack.cortex.kill()
        await them.ended(ids, 5)
        await eventually(lambda: stats(port)["active"] == 0, "no work left in the engine", 5)
        stack.cortex.start()
        await eventually(lambda: set(stack.states().values()) == {"loaded"}, "the fleet known", 15)


async def test_sigterm_drains_and_a_new_cortex_is_routable_in_seconds(stack: Stack) -> None:
    """R0.31, F09: running streams finish, new requests are told 503, status 0, no reload."""
    before = engines(stack)
    async with streams(stack) as them:
        ids = them.start("two", 100, 32)
        await them.flowing(ids)
        late = await asyncio.open_connection("127.0.0.1", stack.gateway)
        stack.cortex.signal(signal.SIGTERM)
        refused = await _asked_while_draining(stack, late)
        await them.ended(ids, 15)
        them.assert_whole(ids)
        assert await asyncio.to_thread(stack.cortex.wait) == 0
        if refused is not None:
            assert refused.startswith(b"HTTP/1.1 503 "), refused
            assert b"shutting_down" in refused
            assert b"retry-after: " in refused
        stack.cortex.start()
        await eventually(lambda: set(stack.states().values()) == {"loaded"}, "the fleet known", 15)
        again = them.start("two", 10, 8)
        await them.ended(again, 10)
        them.assert_whole(again)
    assert engines(stack) == before
    stack.cortex.assert_clean_log()


async def _asked_while_draining(
    stack: Stack, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> bytes | None:
    """Ask on a connection that was open before; None where the server closed it instead."""

    def begun() -> bool:
        return "drain" in stack.cortex.log() or "stopping" in stack.cortex.log()

    await eventually(begun, "cortex has begun to stop", 5)
    reader, writer = connection
    try:
        text = b'{"model":"two","messages":[{"role":"user","content":"x"}]}'
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (CHAT.encode(), len(text), text)
        )
        return await reader.read(65536) or None
    except ConnectionError:
        return None
    finally:
        writer.transport.abort()


async def test_a_drain_is_bounded(stack: Stack) -> None:
    """R0.31: a stream that does not end in time is cut, with an error event, and status is 0."""
    async with streams(stack) as them:
        ids = them.start("two", 100_000, 4)
        await them.flowing(ids)
        stack.cortex.signal(signal.SIGTERM)
        await them.ended(ids, 15)
        them.assert_broken_and_told(ids)
        assert await asyncio.to_thread(stack.cortex.wait) == 0
    stack.cortex.start()
    await eventually(lambda: set(stack.states().values()) == {"loaded"}, "the fleet known", 15)


async def test_sigint_stops_it_the_same_way(stack: Stack) -> None:
    """R0.31: SIGINT is as good as SIGTERM."""
    stack.cortex.signal(signal.SIGINT)
    assert await asyncio.to_thread(stack.cortex.wait) == 0
    stack.cortex.start()
    await eventually(lambda: set(stack.states().values()) == {"loaded"}, "the fleet known", 15)


async def test_a_port_that_is_taken_is_said_in_one_sentence(stack: Stack) -> None:
    """R0.38: the second cortex on the same ports ends at once, without a traceback."""
    second = Role("second", stack.cortex.arguments[3:], stack.folder)
    second.start()
    status = await asyncio.to_thread(second.wait)
    assert status not in {0, -signal.SIGKILL}
    assert str(stack.gateway) in second.log()
    second.assert_clean_log()
    answer = await ask(stack.gateway, "POST", CHAT, body("one", 3))
    assert answer.status == 200


def fill(path: Path) -> None:
    """Write until the file system is full."""
    with path.open("wb", buffering=0) as file:
        for _ in range(1000):
            try:
                written = file.write(bytes(4096))
            except OSError:
                return
            if written < 4096:
                return
    raise AssertionError(f"{path} took 4 MB, so its file system is not the tiny one")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny file system needs root")
async def test_a_full_disk_under_the_state_folder_stops_no_stream() -> None:
    """F25: the cache cannot be written; serving goes on, and it is said."""
    stack = Stack([echo("one", tokens_per_second=RATE)], wait_for=())
    state = stack.folder / "n1-state"
    state.mkdir(mode=0o700)
    mounted = await asyncio.create_subprocess_exec(
        "mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(state),
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await mounted.wait() != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        with stack:
            stack.wait_ready(["one"])
            filler = state / "filler"
            fill(filler)
            async with streams(stack) as them:
                ids = them.start("one", 60, 8)
                await them.flowing(ids)
                # What makes the neuron write: the engine is gone, and another one is started.
                await them.ended(ids, 20)
                them.assert_whole(ids)
                engine_of(stack, "one").kill()
                await eventually(lambda: stack.states()["one"] != "loaded", "the loss is seen", 10)
                filler.unlink()
                await eventually(lambda: stack.states()["one"] == "loaded", "loaded again", 60)
                again = them.start("one", 10, 4)
                await them.ended(again, 20)
                them.assert_whole(again)
    finally:
        unmounted = await asyncio.create_subprocess_exec("umount", "-l", str(state))
        await unmounted.wait()
        shutil.rmtree(stack.folder, ignore_errors=True)
