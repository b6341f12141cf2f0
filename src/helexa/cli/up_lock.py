"""One stack of `helexa up` per state folder: who holds the lock runs it, the others find it.

The lock is the kernel's, so it is free as soon as its holder is gone, whatever ended it.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any, Final

from helexa.cli.private_files import make_private, write_private
from helexa.util.errors import ConfigError
from helexa.util.regular_files import open_lock_file, read_regular

FACTS_BYTES_MAX: Final = 1 << 20


class StackLock:
    """The lock of one folder, and what its holder told about itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._facts_file = folder / "up.json"
        self._file: IO[bytes] | None = None
        self.found_remains = False
        """The last holder did not end cleanly; set when the lock was taken."""

    def take(self) -> bool:
        """Take the lock if nobody has it; return whether it is ours now."""
        make_private(self._folder)
        path = self._folder / "lock"
        try:
            file = os.fdopen(open_lock_file(path), "r+b", buffering=0)
        except OSError as error:
            raise ConfigError(
                f"cannot use the lock {path}: {error.strerror}", error_id="HX-0610",
                hint="remove it, or name another folder with --state-dir",
            ) from error  # fmt: skip
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        self.found_remains = self._facts_file.exists()
        self._facts_file.unlink(missing_ok=True)
        return True

    def tell(self, facts: dict[str, Any]) -> None:
        """Write what others should know of the stack; call it when the stack serves."""
        write_private(self._facts_file, json.dumps(facts))

    def facts(self) -> dict[str, Any] | None:
        """Return what the holder told; None while it has not."""
        try:
            told = json.loads(read_regular(self._facts_file, FACTS_BYTES_MAX))
        except (OSError, ValueError):
            return None
        return told if isinstance(told, dict) else None

    def release(self) -> None:
        """Give the lock back, and take away what was told."""
        if self._file is not None:
            self._facts_file.unlink(missing_ok=True)
            self._file.close()
            self._file = None
