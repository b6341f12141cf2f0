"""The process table, real and made up."""

import os
import subprocess
import sys

from helexa.neuron.process import table


def test_this_process_is_found_with_its_parent_and_group():
    own = table.entry(os.getpid())
    assert (own.parent, own.group, own.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert own in table.entries()
    assert not own.is_zombie


def test_a_name_with_parentheses_and_spaces_does_not_shift_the_fields(tmp_path):
    (tmp_path / "7").mkdir()
    fields = " ".join(["S", "3", "7", "7", *["0"] * 15, "4242", *["0"] * 10])
    (tmp_path / "7/stat").write_text(f"7 (evil) R 1 1 (x) {fields}")
    found = table.entry(7, tmp_path)
    assert (found.parent, found.group, found.start_ticks) == (3, 7, 4242)


def test_a_process_that_is_gone_or_garbled_is_none(tmp_path):
    (tmp_path / "8").mkdir()
    (tmp_path / "8/stat").write_text("8 (x) S")
    assert table.entry(8, tmp_path) is None
    assert table.entry(9, tmp_path) is None
    assert table.entries(tmp_path / "absent") == []


def test_the_environment_of_a_process_is_matched_whole():
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "print(1, flush=True); input()"],
        env={"HELEXA_ENGINE": "abc"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    assert table.has_environment(child.pid, "HELEXA_ENGINE=abc")
    assert not table.has_environment(child.pid, "HELEXA_ENGINE=ab")
    child.communicate(b"\n")
    assert not table.has_environment(child.pid, "HELEXA_ENGINE=abc")


def test_memory_of_this_process_is_more_than_nothing():
    assert table.resident_bytes([os.getpid()]) > 1 << 20
    assert table.resident_bytes([]) is None


def test_members_are_the_session_and_all_below_it(tmp_path):
    def write(pid: int, parent: int, session: int) -> None:
        (tmp_path / str(pid)).mkdir()
        numbers = [parent, session, session, *[0] * 15, 5]
        text = f"{pid} (x) S " + " ".join(map(str, numbers))
        (tmp_path / str(pid) / "stat").write_text(text)

    write(10, 1, 10)
    write(11, 10, 10)
    write(12, 11, 12)  # left for a session of its own
    write(13, 12, 12)
    write(20, 1, 20)
    write(14, 1, 10)  # its parent died
    assert table.members(10, tmp_path) == [10, 11, 12, 13, 14]


def test_the_boot_is_known():
    assert len(table.boot_id()) == 36


def test_kills_for_want_of_memory_are_read(tmp_path):
    (tmp_path / "vmstat").write_text("nr_free 5\noom_kill 3\n")
    assert table.oom_kills(tmp_path) == 3
    assert table.oom_kills(tmp_path / "absent") == 0
