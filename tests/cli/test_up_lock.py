"""One stack per state folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helexa.cli.up_lock import StackLock
from helexa.util.errors import ConfigError
from tests.fakes.odd_files import ODD

ROOT = Path(__file__).parents[2]


def test_who_comes_second_finds_what_the_first_told(tmp_path: Path) -> None:
    first, second = StackLock(tmp_path), StackLock(tmp_path)
    assert first.take()
    assert not second.take()
    assert second.facts() is None
    first.tell({"gateway": "here"})
    assert second.facts() == {"gateway": "here"}
    first.release()
    assert second.take()
    assert second.facts() is None
    assert not second.found_remains
    second.release()


def test_the_lock_of_a_killed_process_is_free_and_its_remains_are_noticed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from helexa.cli.up_lock import StackLock\n"
        "lock = StackLock(Path(sys.argv[1])); assert lock.take(); lock.tell({})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False, cwd=ROOT, env={"PYTHONPATH": "src", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    lock = StackLock(tmp_path)
    assert lock.take()
    assert lock.found_remains
    lock.release()


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    lock = StackLock(tmp_path)
    ODD[kind](tmp_path / "up.json")
    assert lock.facts() is None
    ODD[kind](tmp_path / "lock")
    with pytest.raises(ConfigError, match="cannot use the lock"):
        lock.take()


def test_facts_that_cannot_be_read_count_as_none(tmp_path: Path) -> None:
    lock = StackLock(tmp_path)
    for text in ("{", "[]", ""):
        (tmp_path / "up.json").write_text(text)
        assert lock.facts() is None
