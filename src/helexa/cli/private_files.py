"""Folders and files that only their owner can look into."""

import stat
from pathlib import Path

from helexa.util.errors import ConfigError


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can look into; raises ConfigError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot use the state folder {folder}: {error.strerror or error}", error_id="HX-0603",
            hint="name another with --state-dir",
        ) from error  # fmt: skip


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all; raises ConfigError."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror or error}", error_id="HX-0604"
        ) from error
