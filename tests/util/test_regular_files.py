"""Only plain files are opened, and nothing is waited for."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from helexa.util.regular_files import open_lock_file, read_regular
from tests.fakes.odd_files import ODD


def error_of(work: Callable[[], object]) -> int | None:
    with pytest.raises(OSError) as caught:
        work()
    return caught.value.errno


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_regular(path, 5) == b"12345"
    assert error_of(lambda: read_regular(path, 4)) == errno.EFBIG
    assert error_of(lambda: read_regular(tmp_path / "b", 4)) == errno.ENOENT


@pytest.mark.parametrize("kind", ODD)
def test_anything_else_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd"
    ODD[kind](path)
    refused = {errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.EISDIR}
    assert error_of(lambda: read_regular(path, 9)) in refused
    assert error_of(lambda: open_lock_file(path)) in refused


def test_a_link_is_followed_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    assert read_regular(link, 9, follow=True) == b"x"
    assert error_of(lambda: read_regular(link, 9)) == errno.ELOOP
    os.mkfifo(tmp_path / "fifo")
    link.unlink()
    link.symlink_to(tmp_path / "fifo")
    assert error_of(lambda: read_regular(link, 9, follow=True)) == errno.EINVAL


def test_a_lock_file_is_made_private(tmp_path: Path) -> None:
    os.close(open_lock_file(tmp_path / "lock"))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
