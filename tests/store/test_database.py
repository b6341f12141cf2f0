"""Opening a SQLite file: private, whole, or set aside; and what a bad disk tells."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from helexa.config.store_url import Location, location_of
from helexa.store.database import SET_ASIDE_MAX, damage_of, open_database
from helexa.store.faults import StoreError
from tests.fakes.stored import Stored


def closed_store(folder: Path) -> Path:
    with Stored(folder) as stored:
        stored.key()
    return folder / "store.db"


def test_the_file_and_what_lies_beside_it_are_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    with Stored(folder) as stored:
        stored.key()
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}
        assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = closed_store(tmp_path)
    path.chmod(0o644)
    with Stored(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_safe_by_its_settings(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:

        def value(name: str) -> object:
            return stored.store.read(lambda c: c.execute(text(f"PRAGMA {name}")).scalar())

        assert (value("journal_mode"), value("foreign_keys")) == ("wal", 1)
        assert (value("synchronous"), value("busy_timeout")) == (2, 5000)


def damaged(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "no database":
        data = bytearray(b"not a database at all " * 400)
    elif how == "flipped":
        for place in range(4096, len(data), 64):
            data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "no database", "flipped"])
def test_a_damaged_file_is_set_aside_with_a_message_and_the_next_start_is_clean(
    tmp_path: Path, how: str
) -> None:
    """F27, and no crash loop: the bad file costs its content, not the process."""
    path = closed_store(tmp_path)
    damaged(path, how)
    before = path.read_bytes()
    with Stored(tmp_path) as stored:
        told = stored.store.database.set_aside
        stored.key()
    assert "is kept as store.db.corrupt-1" in told
    assert (tmp_path / "store.db.corrupt-1").read_bytes() == before
    with Stored(tmp_path) as stored:
        assert stored.store.database.set_aside == ""
        assert len(stored.book().keys) == 1


def test_of_files_set_aside_only_the_newest_are_kept(tmp_path: Path) -> None:
    path = closed_store(tmp_path)
    for _ in range(SET_ASIDE_MAX + 2):
        path.write_bytes(b"no database" * 100)
        open_database(Location(path=str(path))).close()
    left = sorted(each.name for each in tmp_path.glob("*.corrupt-*"))
    assert left == [f"store.db.corrupt-{n}" for n in range(3, SET_ASIDE_MAX + 3)]


def test_an_empty_file_is_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "store.db").touch()
    with Stored(tmp_path) as stored:
        assert stored.store.database.set_aside == ""


def test_damage_is_told_without_touching_the_file(tmp_path: Path) -> None:
    path = closed_store(tmp_path)
    assert damage_of(path) is None
    damaged(path, "cut")
    before = path.read_bytes()
    assert damage_of(path)
    assert damage_of(tmp_path / "nothing") is None
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(StoreError) as caught:
        open_database(Location(path=str(path)))
    assert str(path) in str(caught.value)
    assert not (tmp_path / "elsewhere.db").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        open_database(location_of(None, str(tmp_path / "file" / "state")))
    assert "cannot be used" in str(caught.value)
    assert caught.value.hint


_FULL = """
import sys
from pathlib import Path
from tests.fakes.stored import Stored
from helexa.store.faults import StoreError
folder = Path(sys.argv[1])
with Stored(folder) as stored:
    made = stored.key()
    try:
        (folder / "filler").write_bytes(bytes(8 << 20))
    except OSError:
        pass
    try:
        for number in range(2000):
            stored.key("another" * 10)
    except StoreError as error:
        print(error.message, "|", error.hint)
    print(stored.book().judge(made["key"].encode(), 0.0)[0].value)
"""
_READ_ONLY = """
import subprocess
import sys
from pathlib import Path
from tests.fakes.stored import Stored
from helexa.store.faults import StoreError
folder = Path(sys.argv[1])
with Stored(folder) as stored:
    stored.key()
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
try:
    with Stored(folder) as stored:
        stored.key()
except StoreError as error:
    print(error.message, "|", error.hint)
print(sorted(each.name for each in folder.iterdir()))
"""


def on_a_small_disk(program: str, tmp_path: Path) -> list[str]:
    """Run a program with a disk of its own, in a namespace; skip where there are none."""
    path, disk = tmp_path / "program.py", tmp_path / "disk"
    path.write_text(program)
    disk.mkdir()
    words = f"mount -t tmpfs -o size=2m none {disk} && exec {sys.executable} {path} {disk}"
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    if "not permitted" in ran.stderr or "denied" in ran.stderr:
        pytest.skip("no namespaces here")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_a_full_disk_is_told_in_words_and_keys_stay_good(tmp_path: Path) -> None:
    told, standing = on_a_small_disk(_FULL, tmp_path)
    assert "the disk is full | free some space" in told
    assert standing == "good"


def test_a_read_only_disk_is_told_in_words_and_nothing_is_set_aside(tmp_path: Path) -> None:
    told, left = on_a_small_disk(_READ_ONLY, tmp_path)
    assert "cannot be" in told
    assert left == "['store.db']"


def test_who_waits_too_long_for_another_process_is_told_that(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        stored.store.read(lambda c: c.execute(text("SELECT 1"))), "readers do not wait"
        with pytest.raises(StoreError, match="another process keeps it locked"):
            stored.key()
        other.execute("ROLLBACK")
        other.close()
        stored.key()


def test_a_server_is_not_asked_anything_before_it_is_used() -> None:
    database = open_database(Location(url="postgresql://nobody@127.0.0.1:1/none"), "secret")
    assert not database.is_sqlite
    with pytest.raises(StoreError) as caught, database.reading():
        raise AssertionError("nobody is there")
    database.close()
    assert "127.0.0.1" in str(caught.value)
    assert "secret" not in str(caught.value)
