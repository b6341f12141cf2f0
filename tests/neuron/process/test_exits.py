"""Ends of processes, in words."""

import signal

import pytest

from helexa.neuron.process.exits import GUARD_LOST, describe_exit


def test_an_exit_status_is_told():
    ended = describe_exit(3 << 8)
    assert (ended.status, ended.shell_status, str(ended)) == (3, 3, "exited with status 3")
    assert describe_exit(0).is_success
    assert not ended.is_success


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGILL, "CPU"), (signal.SIGKILL, "memory"), (signal.SIGBUS, "disk")],
)
def test_a_signal_is_told_by_name_with_a_hint(number, word):
    ended = describe_exit(number)
    assert ended.signal_name == number.name
    assert word in str(ended)
    assert ended.shell_status == 128 + number


def test_a_kill_for_want_of_memory_is_told_as_one():
    assert "ran out of memory" in str(describe_exit(signal.SIGKILL, out_of_memory=True))
    assert not describe_exit(signal.SIGTERM, out_of_memory=True).out_of_memory


def test_an_end_that_was_asked_for_is_no_fault():
    assert str(describe_exit(signal.SIGTERM, asked=True)) == "stopped"


def test_a_signal_without_a_name_is_told_by_number():
    ended = describe_exit(40)
    assert (ended.signal_name, ended.shell_status) == ("signal 40", 128)
    assert str(ended) == "killed by signal 40"


def test_a_lost_guard_is_no_success():
    assert not GUARD_LOST.is_success
