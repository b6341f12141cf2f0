"""Taking one file out of a wheel, without trusting the wheel and without running anything in it.

A wheel is a zip archive. The member's name is matched exactly and never used as a path on disk;
its size is known and bounded before a byte is written; the central directory is bounded before it
is read; compression beyond what weights can reach is refused as a bomb.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from helexa.model_runtime.models.disk import CHUNK_BYTES, FileSource
from helexa.util.errors import SourceError

DIRECTORY_BYTES_MAX: Final = 16 << 20
RATIO_MAX: Final = 200
"""Weights hardly compress (1.1 to 1.3 seen), vocabularies by 3; deflate's limit is 1032."""
_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\x05\x06"
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_END_64_MAGIC: Final = b"PK\x06\x06"
_LOCATOR_64_BYTES: Final = 20
_COMMENT_BYTES_MAX: Final = 65_535


def _bad(path: Path, reason: str) -> SourceError:
    return SourceError(
        f"{path.name} is not a usable wheel: {reason}",
        error_id="HX-0540",
        hint="The download may be damaged; try again.",
    )


class OpenWheel:
    """A wheel whose directory has been checked."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive

    def size_bytes(self, member: str) -> int:
        """Return a member's size when unpacked. Raises SourceError when it cannot be had."""
        return self._find(member).file_size

    def chunks(self, member: str) -> Iterator[bytes]:
        """Yield a member's bytes. Raises SourceError when they are damaged."""
        found = self._find(member)
        left = found.file_size
        try:
            with self._archive.open(found) as stream:
                while piece := stream.read(min(CHUNK_BYTES, left + 1)):
                    left -= len(piece)
                    if left < 0:
                        break
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise _bad(self._path, f"{member!r} cannot be unpacked: {error}") from error
        if left:
            raise _bad(self._path, f"{member!r} has another size than its directory says")

    def _find(self, member: str) -> zipfile.ZipInfo:
        found = [entry for entry in self._archive.infolist() if entry.filename == member]
        if not found:
            raise _bad(self._path, f"it holds no {member!r}")
        if len(found) > 1:
            raise _bad(self._path, f"it holds {member!r} more than once")
        entry = found[0]
        if entry.flag_bits & 1:
            raise _bad(self._path, f"{member!r} is encrypted")
        if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise _bad(self._path, f"{member!r} uses an unusual compression")
        if entry.file_size > entry.compress_size * RATIO_MAX:
            raise _bad(self._path, f"{member!r} claims to grow by more than {RATIO_MAX} times")
        return entry


@contextmanager
def open_wheel(path: Path) -> Iterator[OpenWheel]:
    """Open a wheel for reading. Raises SourceError (HX-0540) when it is not one."""
    with FileSource(path) as source:
        _check_directory(path, source)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, struct.error, ValueError, RuntimeError) as error:
        raise _bad(path, str(error)) from error
    with archive:
        yield OpenWheel(path, archive)


def _check_directory(path: Path, source: FileSource) -> None:
    """Refuse a directory that would fill the memory; `zipfile` reads it whole."""
    tail_bytes = min(source.size_bytes, _END.size + _COMMENT_BYTES_MAX)
    tail = source.read_at(source.size_bytes - tail_bytes, tail_bytes)
    place = tail.rfind(_END_MAGIC)
    if place < 0 or len(tail) - place < _END.size:
        raise _bad(path, "it is not a zip archive, or it is cut")
    directory_bytes = _END.unpack_from(tail, place)[5]
    # Large archives say it again in 64 bits just before, and `zipfile` believes that one.
    before = source.size_bytes - len(tail) + place - _LOCATOR_64_BYTES - _END_64.size
    record = source.read_at(before, _END_64.size) if before >= 0 else b""
    if record.startswith(_END_64_MAGIC):
        directory_bytes = _END_64.unpack(record)[8]
    if directory_bytes > DIRECTORY_BYTES_MAX:
        raise _bad(path, f"its directory claims {directory_bytes} bytes")
