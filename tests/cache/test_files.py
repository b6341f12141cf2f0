"""The file operations themselves."""

import errno
import stat
from pathlib import Path

import pytest

from helexa.cache.files import DiskFiles, make_private_folder


def test_reading_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert DiskFiles().read(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4") as caught:
        DiskFiles().read(path, 4)
    assert caught.value.errno == errno.EFBIG


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError) as caught:
        DiskFiles().read(link, 10)
    assert caught.value.errno == errno.ELOOP
    DiskFiles().replace(link, b"new")
    assert target.read_bytes() == b"x"
    assert not link.is_symlink()


def test_replacing_needs_no_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a"
    DiskFiles().replace(path, b"one")
    DiskFiles().replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a"]


def test_missing_folders_become_private_and_existing_ones_stay(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private_folder(tmp_path / "one" / "two")
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path, tmp_path / "one" / "two")]
    assert modes == [0o755, 0o700]
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700


def test_numbers_of_set_aside_files_only_grow(tmp_path: Path) -> None:
    path = tmp_path / "a"
    (tmp_path / "a.corrupt-7").write_text("old")
    (tmp_path / "a.corrupt-x").write_text("not ours")
    path.write_text("bad")
    assert DiskFiles().set_aside(path, keep=1).name == "a.corrupt-8"
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["a.corrupt-8", "a.corrupt-x"]
