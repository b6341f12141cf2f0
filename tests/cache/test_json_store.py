"""The state store against damage, full disks and other people's files."""

import random
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from helexa.cache.files import DiskFiles
from helexa.cache.json_store import SET_ASIDE_MAX, JsonStore
from helexa.util.errors import HelexaError
from tests.fakes.state_files import FullDisk


class Note(msgspec.Struct, frozen=True):
    text: str = ""
    numbers: tuple[int, ...] = ()


class Other(msgspec.Struct, frozen=True):
    text: str = ""


GOOD = Note("kept", tuple(range(50)))


def store_at(path: Path, version: int = 1) -> JsonStore[Note]:
    return JsonStore(path, Note, version=version)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "note.json"


def test_what_is_saved_is_loaded_by_another_process_of_the_same_kind(path: Path) -> None:
    """R1.17: state is written to the cache and reloaded."""
    store_at(path).save(GOOD)
    loaded = store_at(path).load(Note)
    assert (loaded.value, loaded.problem) == (GOOD, "")


def test_a_missing_file_is_the_default_and_no_problem(path: Path) -> None:
    loaded = store_at(path).load(lambda: Note("fresh"))
    assert (loaded.value, loaded.problem) == (Note("fresh"), "")
    assert not path.exists()


def test_files_and_new_folders_are_private(path: Path) -> None:
    store_at(path).save(GOOD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def mutations(good: bytes) -> Iterator[bytes]:
    """100 ways to damage a file."""
    chance = random.Random(7)
    for _ in range(60):
        place, bit = chance.randrange(len(good)), chance.randrange(8)
        yield good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :]
    for _ in range(25):
        yield good[: chance.randrange(len(good))]
    yield b""
    yield bytes(len(good))
    yield good + good
    yield good[::-1]
    yield b"[]"
    yield b"null"
    yield b'"text"'
    yield b"{" * 5000
    yield b"\xff\xfe" + good
    yield good + b"x"
    yield msgspec.json.encode(GOOD)
    yield good.replace(b'"kind":"Note"', b'"kind":"Other"')
    yield good.replace(b'"version":1', b'"version":2')
    yield good.replace(b'"text":"kept"', b'"text":1234.5')
    yield good.replace(b'"sha256":"', b'"sha256":"0')


def test_none_of_100_mutations_loads_wrong_data_and_each_is_kept_as_evidence(path: Path) -> None:
    """Flip a bit, cut, empty, wrong type: the default is used and the bad bytes are kept."""
    store = store_at(path)
    store.save(GOOD)
    good = path.read_bytes()
    damaged = list(mutations(good))
    assert len(damaged) == 100
    for data in damaged:
        assert data != good
        path.write_bytes(data)
        loaded = store.load(lambda: Note("default"))
        assert loaded.value == Note("default")
        kept = max(path.parent.glob("note.json.corrupt-*"), key=lambda p: int(p.suffix[9:]))
        assert kept.read_bytes() == data
        assert kept.name in loaded.problem
        assert not path.exists()


def test_the_number_of_files_set_aside_is_bounded_and_the_newest_stay(path: Path) -> None:
    store = store_at(path)
    path.parent.mkdir()
    for turn in range(SET_ASIDE_MAX + 4):
        path.write_text(f"bad {turn}")
        store.load(Note)
    kept = {p.read_text() for p in path.parent.glob("note.json.corrupt-*")}
    assert kept == {f"bad {turn}" for turn in range(4, SET_ASIDE_MAX + 4)}


def test_a_file_of_another_version_is_set_aside_and_not_overwritten(path: Path) -> None:
    store_at(path, version=2).save(GOOD)
    before = path.read_bytes()
    loaded = store_at(path, version=1).load(Note)
    assert "version 2, not 1" in loaded.problem
    store_at(path, version=1).save(Note("new"))
    assert (path.parent / "note.json.corrupt-1").read_bytes() == before


def test_a_file_of_another_kind_is_set_aside(path: Path) -> None:
    JsonStore(path, Other).save(Other("secret of another drawer"))
    assert "holds Other, not Note" in store_at(path).load(Note).problem


@pytest.mark.parametrize("kind", ["folder", "fifo", "link"])
def test_what_is_no_regular_file_is_set_aside_without_waiting(path: Path, kind: str) -> None:
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        subprocess.run(["mkfifo", str(path)], check=True)
    else:
        path.symlink_to("/etc/hostname")
    store = store_at(path)
    assert store.load(Note).problem
    store.save(GOOD)
    assert store.load(Note).value == GOOD


def test_a_file_that_cannot_be_set_aside_is_still_not_a_crash(path: Path) -> None:
    files = FullDisk(can_rename=False)
    path.parent.mkdir()
    path.write_text("bad")
    loaded = JsonStore(path, Note, files=files).load(Note)
    assert loaded.value == Note()
    assert "could not be set aside" in loaded.problem


@pytest.mark.parametrize("room_bytes", [0, 1, 100])
def test_a_full_disk_is_told_and_the_old_file_stays(path: Path, room_bytes: int) -> None:
    store_at(path).save(GOOD)
    full = JsonStore(path, Note, files=FullDisk(room_bytes=room_bytes))
    with pytest.raises(HelexaError, match="No space left") as caught:
        full.save(Note("new", tuple(range(1000))))
    assert caught.value.error_id == "HX-0301"
    assert store_at(path).load(Note).value == GOOD
    assert [p.name for p in path.parent.iterdir()] == ["note.json"]


def test_a_really_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """F25's twin for state: a 64 KiB tmpfs where one may be mounted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting needs root; the injected full disk covers this elsewhere")
    try:
        store = store_at(tmp_path / "note.json")
        store.save(GOOD)
        with pytest.raises(HelexaError) as caught:
            store.save(Note("x" * 100_000))
        assert caught.value.error_id == "HX-0301"
        assert store.load(Note).value == GOOD
        assert [p.name for p in tmp_path.iterdir()] == ["note.json"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_crash_before_the_rename_leaves_the_old_file_and_the_next_save_works(path: Path) -> None:
    store = store_at(path)
    store.save(GOOD)
    (path.parent / "note.json.tmp").write_text("half")
    assert store.load(Note).value == GOOD
    store.save(Note("after"))
    assert store.load(Note).value == Note("after")
    assert [p.name for p in path.parent.iterdir()] == ["note.json"]


def test_a_larger_file_than_state_can_be_is_not_read(path: Path) -> None:
    path.parent.mkdir()
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    assert "larger than" in store_at(path).load(Note).problem


def test_the_files_port_is_the_real_one_by_default(path: Path) -> None:
    DiskFiles().replace(path, b"not ours")
    assert "damaged" in store_at(path).load(Note).problem
