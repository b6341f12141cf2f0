"""What the store remembers about each file it fetched, kept beside the files.

    FOLDER/.helexa/records/KEY.json   what a file must be, and how it looked when it was checked
    FOLDER/.helexa/locks/KEY.lock     held while a source is fetched, by any process
    FOLDER/.helexa/fetching/KEY/      downloads in progress

A record is a memory, not a truth: one that is damaged is forgotten, and the file is checked or
fetched again.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from helexa.model_runtime.models import disk
from helexa.util.errors import SourceError

HIDDEN: Final = ".helexa"
_BYTES_MAX: Final = 1 << 16


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A checked file. The last four tell an untouched file from a changed one without reading it:
    no program can change a file's content and keep its change time."""

    source: str
    path: str
    sha256: str
    size_bytes: int
    inode: int
    modified_ns: int
    changed_ns: int


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    sha256: str
    record: msgspec.Raw


class Records:
    """The hidden folder of a model folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hidden = folder / HIDDEN

    def key(self, source: str) -> str:
        """Return the name under which a source is remembered."""
        return hashlib.sha256(source.encode()).hexdigest()[:32]

    def lock_path(self, key: str) -> Path:
        """Return the file to lock while a source is fetched; its folder exists."""
        folder = self._hidden / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{key}.lock"

    def work_folder(self, key: str) -> Path:
        """Return where a source's downloads in progress are kept."""
        return self._hidden / "fetching" / key

    def read(self, key: str) -> Record | None:
        """Return what is remembered, or None."""
        try:
            with disk.FileSource(self._path(key)) as file:
                sealed = msgspec.json.decode(file.read_at(0, _BYTES_MAX), type=_Sealed)
            if hashlib.sha256(sealed.record).hexdigest() != sealed.sha256:
                return None
            return msgspec.json.decode(sealed.record, type=Record)
        except (OSError, SourceError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def write(self, source: str, path: Path, sha256: str) -> Record:
        """Remember a file that has just been checked. Raises SourceError."""
        state = path.lstat()
        record = Record(
            source=source,
            path=str(path.relative_to(self._folder)),
            sha256=sha256,
            size_bytes=state.st_size,
            inode=state.st_ino,
            modified_ns=state.st_mtime_ns,
            changed_ns=state.st_ctime_ns,
        )
        body = msgspec.json.encode(record)
        sealed = _Sealed(hashlib.sha256(body).hexdigest(), msgspec.Raw(body))
        target = self._path(self.key(source))
        disk.write_small(target, msgspec.json.encode(sealed))
        return record

    def forget(self, key: str) -> None:
        """Remember nothing about a source."""
        self._path(key).unlink(missing_ok=True)

    def all(self) -> dict[str, Record]:
        """Return all records by their path."""
        found = (self.read(path.stem) for path in (self._hidden / "records").glob("*.json"))
        return {record.path: record for record in found if record is not None}

    def _path(self, key: str) -> Path:
        return self._hidden / "records" / f"{key}.json"


def untouched(record: Record, path: Path) -> bool:
    """Tell whether a file is the very one that was checked, without reading it."""
    try:
        state = os.lstat(path)
    except OSError:
        return False
    seen = (state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    kept = (record.size_bytes, record.inode, record.modified_ns, record.changed_ns)
    return stat.S_ISREG(state.st_mode) and seen == kept
