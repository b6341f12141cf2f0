"""The neuron's side of a guard: what it makes of the guard's news."""

import json

import pytest

from helexa.neuron.process.exits import GUARD_LOST
from helexa.neuron.process.guarded import NEWS_BYTES_MAX, GuardedProcess, StartError


def line(**news) -> bytes:
    return json.dumps(news).encode() + b"\n"


def end(process: GuardedProcess) -> None:
    for fd in (1, 2):
        process.pipe_connection_lost(fd, None)
    process.process_exited()


async def test_news_may_come_in_pieces():
    process = GuardedProcess()
    news = line(event="started", pid=77) + line(event="exited", status=256)
    for number in range(len(news)):
        process.pipe_data_received(2, news[number : number + 1])
    end(process)
    assert process.pid == 77
    assert (await process.wait()).status == 1


async def test_the_last_news_count_even_if_they_come_after_the_exit():
    process = GuardedProcess()
    process.pipe_data_received(2, line(event="started", pid=77))
    process.process_exited()
    assert not process.has_ended
    process.pipe_data_received(2, line(event="exited", status=0))
    process.pipe_connection_lost(1, None)
    process.pipe_connection_lost(2, None)
    assert (await process.wait()).is_success


async def test_a_guard_that_vanishes_is_told_as_lost():
    process = GuardedProcess()
    process.pipe_data_received(2, line(event="started", pid=77))
    end(process)
    assert await process.wait() is GUARD_LOST


async def test_a_refusal_is_a_start_error_with_the_reason():
    process = GuardedProcess()
    process.pipe_data_received(2, line(event="refused", because="ENOENT: x"))
    end(process)
    with pytest.raises(StartError, match="ENOENT: x"):
        await process.begin(b"")


async def test_a_guard_that_ends_before_it_starts_anything_is_a_start_error():
    process = GuardedProcess()
    end(process)
    with pytest.raises(StartError, match="ended at once"):
        await process.begin(b"")


async def test_a_traceback_of_the_guard_is_kept_for_its_reader():
    process = GuardedProcess()
    process.pipe_data_received(2, b"Traceback: a bug\n[]\n5\n")
    assert process.output.tail() == ("Traceback: a bug", "[]", "5")


async def test_news_without_end_are_dropped():
    process = GuardedProcess()
    process.pipe_data_received(2, b"x" * (NEWS_BYTES_MAX + 1))
    process.pipe_data_received(2, line(event="started", pid=77))
    assert process.pid == 77


async def test_both_kinds_of_error_catch_a_start_error():
    with pytest.raises(OSError, match="no"):
        raise StartError("no", hint="x")
