"""Files of one's own."""

import stat
from pathlib import Path

import pytest

from helexa.cli.private_files import make_private, write_private
from helexa.util.errors import ConfigError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_is_made_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    make_private(folder)
    assert mode(folder) == 0o700
    folder.chmod(0o755)
    make_private(folder)
    assert mode(folder) == 0o700


def test_a_file_is_replaced_whole_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert (path.read_text(), mode(path)) == ("two", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match="cannot use the state folder"):
        make_private(file / "below")
    with pytest.raises(ConfigError, match="cannot write"):
        write_private(file / "below", "x")
