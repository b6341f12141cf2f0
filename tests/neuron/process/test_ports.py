"""Ports for engines."""

import socket

import pytest

from helexa.neuron.process.ports import PortPool
from helexa.util.errors import LimitError


@pytest.fixture
def three_free() -> int:
    """The first of three ports in a row that are free."""
    for first in range(42000, 60000, 7):
        sockets = []
        try:
            for port in range(first, first + 3):
                sockets.append(socket.socket())
                sockets[-1].bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
        return first
    raise AssertionError("no three free ports in a row")


@pytest.fixture
def pool_of():
    """Make pools; what they gave out is given back at the end."""
    pools: list[tuple[PortPool, range]] = []

    def make(first: int, last: int) -> PortPool:
        pools.append((PortPool(first, last), range(first, last + 1)))
        return pools[-1][0]

    yield make
    for pool, ports in pools:
        for port in ports:
            pool.give_back(port)


def test_ports_are_given_in_turn_and_come_back_last(three_free, pool_of):
    pool = pool_of(three_free, three_free + 2)
    first, second = pool.take(), pool.take()
    pool.give_back(first)
    third = pool.take()
    assert {first, second, third} == set(range(three_free, three_free + 3))
    assert pool.take() == first


def test_two_neurons_of_one_machine_never_get_the_same_port(three_free, pool_of):
    """Before their engines listen, nothing but the lock tells the two apart."""
    one, other = (pool_of(three_free, three_free + 2) for _ in range(2))
    first, second, third = one.take(), other.take(), one.take()
    assert {first, second, third} == set(range(three_free, three_free + 3))
    with pytest.raises(LimitError):
        other.take()
    one.give_back(first)
    assert other.take() == first


def test_a_port_that_somebody_listens_on_is_passed_over_and_not_kept(three_free, pool_of):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", three_free))
        busy.listen()
        assert pool_of(three_free, three_free + 2).take() == three_free + 1
    assert pool_of(three_free, three_free).take() == three_free


def test_no_port_left_is_an_error_that_names_the_range(three_free, pool_of):
    pool = pool_of(three_free, three_free)
    pool.take()
    with pytest.raises(LimitError, match=f"{three_free}-{three_free}"):
        pool.take()


@pytest.mark.parametrize(("first", "last"), [(0, 5), (9, 8), (1, 70000)])
def test_an_impossible_range_is_refused(first, last):
    with pytest.raises(ValueError, match="ports"):
        PortPool(first, last)
