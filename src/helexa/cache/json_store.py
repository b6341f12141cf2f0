"""A small typed value in a JSON file that survives restarts, crashes, full disks and bit rot.

    {"format":"helexa-state","kind":"Registry","version":1,"sha256":"…","value":{…}}

`sha256` covers the bytes of `value`. A file that is damaged, cut, of another kind or of another
version is never loaded and never overwritten: it is set aside as NAME.corrupt-N and the default is
used, so that a bad file costs its content and not the process.

Not a database: a value is read and written whole, one process owns a file, and `save` waits for the
disk (tens of milliseconds): call it off the event loop.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from helexa.cache.files import DiskFiles, StateFiles
from helexa.util import logging
from helexa.util.errors import HelexaError

FORMAT: Final = "helexa-state"
BYTES_MAX: Final = 64 << 20
SET_ASIDE_MAX: Final = 5

StructT = TypeVar("StructT", bound=msgspec.Struct)
_log = logging.get("cache")


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    kind: str
    version: int
    sha256: str
    value: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Loaded(Generic[StructT]):
    """What `load` found. `problem` is empty, or says why the default is used and where the bad
    file went."""

    value: StructT
    problem: str = ""


class _UnusableError(Exception):
    """The bytes are not a value of ours; the text says why."""


class JsonStore(Generic[StructT]):
    """One value of type `kind` in the file `path`.

    `version` is the version of the value's shape; raise it when old files no longer fit.
    """

    def __init__(
        self,
        path: Path,
        kind: type[StructT],
        *,
        version: int = 1,
        files: StateFiles | None = None,
    ) -> None:
        self._path = path
        self._kind = kind
        self._version = version
        self._files: StateFiles = DiskFiles() if files is None else files
        self._saving = threading.Lock()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def load(self, default: Callable[[], StructT]) -> Loaded[StructT]:
        """Return the stored value, or the default when there is none that can be trusted.

        Never raises for what is on the disk: a problem is logged and returned.
        """
        try:
            data = self._files.read(self._path, BYTES_MAX)
            return Loaded(self._decode(data))
        except FileNotFoundError:
            return Loaded(default())
        except (_UnusableError, OSError) as error:
            problem = self._set_aside(str(error))
        _log.error("state file not used", path=str(self._path), problem=problem)
        return Loaded(default(), problem)

    def save(self, value: StructT) -> None:
        """Store a value durably.

        Raises HelexaError (HX-0301) when the disk refuses; the old file is intact then.
        """
        body = msgspec.json.encode(value)
        envelope = _Envelope(
            FORMAT, self._kind.__name__, self._version, _digest(body), msgspec.Raw(body)
        )
        data = msgspec.json.encode(envelope)
        if len(data) > BYTES_MAX:
            raise HelexaError(
                f"cannot save {self._path}: {len(data)} bytes; at most {BYTES_MAX} are allowed",
                error_id="HX-0302",
            )
        try:
            with self._saving:
                self._files.replace(self._path, data)
        except OSError as error:
            raise HelexaError(
                f"cannot save {self._path}: {error.strerror or error}; the old file is kept",
                error_id="HX-0301",
                hint="Check free space and permissions of its folder.",
            ) from error

    def _decode(self, data: bytes) -> StructT:
        try:
            envelope = msgspec.json.decode(data, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _UnusableError(f"it is damaged: {error}") from None
        if envelope.format != FORMAT:
            raise _UnusableError("it is not a state file")
        if envelope.kind != self._kind.__name__:
            raise _UnusableError(f"it holds {envelope.kind}, not {self._kind.__name__}")
        if envelope.version != self._version:
            raise _UnusableError(f"it has version {envelope.version}, not {self._version}")
        body = bytes(envelope.value)
        if _digest(body) != envelope.sha256:
            raise _UnusableError("its checksum does not match")
        try:
            return msgspec.json.decode(body, type=self._kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _UnusableError(f"its value is not a {self._kind.__name__}: {error}") from None

    def _set_aside(self, reason: str) -> str:
        try:
            target = self._files.set_aside(self._path, SET_ASIDE_MAX)
        except OSError as error:
            return f"{self._path} is not used: {reason}; it could not be set aside: {error}"
        return f"{self._path} is not used: {reason}; it is kept as {target.name}"


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
