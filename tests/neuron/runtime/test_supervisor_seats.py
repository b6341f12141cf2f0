"""Seats with callbacks and a real clock."""

import asyncio

import pytest

from helexa.neuron.registry.admission import Admitted, Queued
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ids import ModelId
from helexa.util.clock import SystemClock
from tests.fakes.waiting import until

M = ModelId("m")
STOPPING = Refusal(ErrorCode.SHUTTING_DOWN, "stops")


def never(_: object) -> None:
    raise AssertionError("nobody waits here")


@pytest.fixture
def seats() -> Seats:
    found = Seats(SystemClock(), queue_max=4)
    found.open(M, 1)
    return found


async def test_a_model_that_is_not_served_has_no_seats(seats):
    assert seats.ask("other", "a", never).code is ErrorCode.SERVICE_UNAVAILABLE


async def test_a_released_seat_goes_to_the_first_that_waits(seats):
    told = []
    assert seats.ask("m", "a", never) == Admitted()
    assert isinstance(seats.ask("m", "b", told.append), Queued)
    assert seats.load("m") == seats.total == (1, 1)
    seats.release("a")
    assert isinstance(told[0], Admitted)
    seats.release("b")
    seats.release("b")
    assert seats.load("m") == (0, 0)


async def test_a_waiter_that_left_is_told_nothing(seats):
    seats.ask("m", "a", never)
    seats.ask("m", "b", never)
    seats.release("b")
    seats.release("a")
    assert seats.total == (0, 0)


async def test_waiting_ends_by_itself():
    seats = Seats(SystemClock(), wait_s_max=0.05)
    seats.open(M, 1)
    told = []
    seats.ask("m", "a", never)
    seats.ask("m", "b", told.append)
    seats.ask("m", "c", told.append)
    await until(lambda: len(told) == 2, "both are refused")
    assert {refusal.code for refusal in told} == {ErrorCode.RATE_LIMIT_EXCEEDED}
    assert seats.load("m") == (1, 0)


async def test_draining_refuses_waiters_at_once_and_tells_when_the_last_is_done(seats):
    told, empty = [], []
    seats.ask("m", "a", never)
    seats.ask("m", "b", told.append)
    seats.drain(M, STOPPING, lambda: empty.append(1))
    assert (told, empty) == ([STOPPING], [])
    assert seats.ask("m", "c", never) == STOPPING
    seats.release("a")
    assert empty == [1]


async def test_an_idle_model_is_drained_at_once(seats):
    empty = []
    seats.drain(M, STOPPING, lambda: empty.append(1))
    seats.drain(ModelId("unknown"), STOPPING, lambda: empty.append(2))
    assert empty == [1, 2]


async def test_closing_forgets_the_drain(seats):
    empty = []
    seats.ask("m", "a", never)
    seats.drain(M, STOPPING, lambda: empty.append(1))
    seats.close(M, STOPPING)
    seats.release("a")
    assert empty == []


async def test_a_seat_of_a_dead_engine_is_not_one_of_the_new_engine(seats):
    seats.ask("m", "old", never)
    seats.close(M, STOPPING)
    seats.open(M, 1)
    assert seats.ask("m", "new", never) == Admitted()
    seats.release("old")
    assert seats.load("m") == (1, 0)
    assert isinstance(seats.ask("m", "next", lambda _: None), Queued)


async def test_opening_again_refuses_those_that_waited_for_the_old_engine(seats):
    told = []
    seats.ask("m", "a", never)
    seats.ask("m", "b", told.append)
    seats.open(M, 1)
    assert told[0].code is ErrorCode.SERVICE_UNAVAILABLE
    await asyncio.sleep(0)
    assert seats.load("m") == (0, 0)


async def test_a_ticket_cannot_be_inside_twice(seats):
    seats.ask("m", "a", never)
    with pytest.raises(ValueError, match="inside"):
        seats.ask("m", "a", never)
