import errno
import hashlib
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helexa.model_runtime.models import disk
from helexa.model_runtime.models.disk import FileSource, PartFile
from helexa.model_runtime.models.worker import Stop, StoppedError
from helexa.util.errors import SourceError


@contextmanager
def files_no_larger_than(limit_bytes: int) -> Iterator[None]:
    """The kernel itself refuses to write past a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_read_at_offsets_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with FileSource(path) as source:
        assert source.size_bytes == 10
        assert source.read_at(3, 4) == b"3456"
        assert b"".join(source.chunks()) == b"0123456789"


def test_a_part_file_continues_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.part"
    with PartFile(path) as part:
        part.write(b"123")
    with PartFile(path, resume=True) as part:
        assert part.size_bytes == 3
        part.write(b"45")
        part.flush()
    assert path.read_bytes() == b"12345"
    with PartFile(path) as part:
        assert part.size_bytes == 0
    with PartFile(path, resume=True) as part:
        part.write(b"abc")
        part.restart()
        part.write(b"d")
    assert path.read_bytes() == b"d"


def test_a_part_file_never_writes_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("untouched")
    (tmp_path / "a.part").symlink_to(target)
    with PartFile(tmp_path / "a.part", resume=True) as part:
        part.write(b"x")
    assert target.read_text() == "untouched"


def test_a_refused_write_is_a_full_disk_with_its_cause(tmp_path: Path) -> None:
    with (
        PartFile(tmp_path / "a.part") as part,
        files_no_larger_than(4096),
        pytest.raises(SourceError, match="is full") as caught,
    ):
        part.write(bytes(10_000))
    assert caught.value.error_id == "HX-0530"
    assert isinstance(caught.value.__cause__, OSError)
    assert part.size_bytes == 4096


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError) as caught:
        PartFile(tmp_path / "file" / "a.part")
    assert caught.value.error_id == "HX-0531"


def test_publishing_is_one_rename(tmp_path: Path) -> None:
    part, final = tmp_path / "a.part", tmp_path / "new" / "a"
    part.write_text("whole")
    inode = part.stat().st_ino
    disk.publish(part, final)
    assert (final.read_text(), final.stat().st_ino) == ("whole", inode)
    assert not part.exists()


def test_a_small_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "r" / "a.json"
    disk.write_small(path, b"one")
    disk.write_small(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_digest_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = bytes(disk.CHUNK_BYTES + 5)
    path.write_bytes(data)
    told: list[tuple[int, int]] = []
    found = disk.digest(path, Stop(), lambda done, total: told.append((done, total)))
    assert found == hashlib.sha256(data).hexdigest()
    assert told == [(disk.CHUNK_BYTES, len(data)), (len(data), len(data))]
    stop = Stop()
    stop.set()
    with pytest.raises(StoppedError):
        disk.digest(path, stop, lambda _done, _total: None)


def test_sizes_of_folders_and_of_free_room(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(10_000))
    assert disk.folder_bytes(tmp_path) >= 10_000
    assert disk.free_bytes(tmp_path) > 0
    disk.remove_folder(tmp_path / "missing")


def test_a_really_full_disk_is_told_as_such(tmp_path: Path) -> None:
    """F25: a 64 KiB tmpfs where one may be mounted."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root; the file size limit covers this elsewhere")
    try:
        with PartFile(tmp_path / "a.part") as part, pytest.raises(SourceError) as caught:
            part.write(bytes(100_000))
        assert caught.value.error_id == "HX-0530"
        cause = caught.value.__cause__
        assert isinstance(cause, OSError)
        assert cause.errno == errno.ENOSPC
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
