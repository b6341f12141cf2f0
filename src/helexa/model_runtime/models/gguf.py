"""The header of a GGUF weights file: metadata and tensor table, checked against the file's size.

Pure. Nothing here trusts a number in the file: a count must fit into the bytes that are left, a
string and an array too, and each tensor must lie inside the file, where the format's own rule puts
it. Whatever does not fit is a `SourceError` with the reason; no input makes the parser allocate
more than a fixed amount. Long arrays (vocabularies) are walked, not kept.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from helexa.model_runtime.models.byte_source import ByteSource
from helexa.util.errors import SourceError

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
ALIGNMENT_DEFAULT: Final = 32
ALIGNMENT_MAX: Final = 1 << 20
HEADER_BYTES_MAX: Final = 256 << 20
"""Largest seen: 20 MiB, for a vocabulary of 260 000 words with merges."""
ENTRIES_MAX: Final = 65_536
TENSORS_MAX: Final = 200_000
ARRAY_ITEMS_MAX: Final = 8_000_000
ARRAY_ITEMS_KEPT: Final = 2_048
"""Per-layer numbers fit in here; vocabularies do not, and nobody needs theirs."""
STRING_BYTES_MAX: Final = 16 << 20
NAME_BYTES_MAX: Final = 65_535
DIMENSIONS_MAX: Final = 4
ELEMENTS_MAX: Final = 1 << 50
_BLOCK_BYTES: Final = 1 << 16

STRING: Final = 8
ARRAY: Final = 9
SCALARS: Final[Mapping[int, struct.Struct]] = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
BLOCKS: Final[Mapping[int, tuple[int, int]]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Tensor type to (elements, bytes) of one block. A type that is not here is newer than this table;
its size is taken from where the next tensor starts."""

Scalar = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Items:
    """An array of the metadata: how many items, and the items themselves where they are few."""

    count: int
    values: tuple[Scalar, ...] = ()


@dataclass(frozen=True, slots=True)
class Tensor:
    """One row of the tensor table; `offset` counts from the start of the data section."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of parameters in it."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the tensor data."""

    version: int
    metadata: Mapping[str, Scalar | Items]
    tensors: tuple[Tensor, ...]
    data_offset: int


def invalid(reason: str) -> SourceError:
    """Return the error for a weights file that is not what it should be."""
    return SourceError(
        f"the weights file is not valid: {reason}",
        error_id="HX-0501",
        hint="The file may be cut or damaged; delete it and pull it again.",
    )


class _Cursor:
    """A forward reader with one block in memory."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._limit = min(source.size_bytes, HEADER_BYTES_MAX)
        self._block = b""
        self._start = 0
        self.offset = 0

    @property
    def left(self) -> int:
        return self._limit - self.offset

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            if self._source.size_bytes > HEADER_BYTES_MAX:
                raise invalid(f"{what} lies past the first {HEADER_BYTES_MAX} bytes")
            raise invalid(
                f"{what} needs {count} bytes at offset {self.offset},"
                f" but the file ends at {self._source.size_bytes}"
            )
        begin = self.offset - self._start
        if begin < 0 or begin + count > len(self._block):
            self._start = self.offset
            self._block = self._source.read_at(self.offset, max(count, _BLOCK_BYTES))
            begin = 0
            if len(self._block) < count:
                raise invalid(f"{what} at offset {self.offset} could not be read whole")
        self.offset += count
        return self._block[begin : begin + count]

    def skip(self, count: int, what: str) -> None:
        if count > self.left:
            self.take(count, what)
        self.offset += count

    def number(self, kind: int, what: str) -> int:
        form = SCALARS[kind]
        value: int = form.unpack(self.take(form.size, what))[0]
        return value

    def text_bytes(self, limit: int, what: str) -> bytes:
        length = self.number(10, what)
        if length > limit:
            raise invalid(f"{what} has {length} bytes; at most {limit} are allowed")
        return self.take(length, what)

    def name(self, what: str) -> str:
        try:
            return self.text_bytes(NAME_BYTES_MAX, what).decode()
        except UnicodeDecodeError:
            raise invalid(f"{what} is not UTF-8") from None


def parse(source: ByteSource) -> Header:
    """Read and check a header.

    Raises SourceError (HX-0501) with the reason when the file is not a whole GGUF file.
    """
    cursor = _Cursor(source)
    if cursor.take(4, "the magic number") != MAGIC:
        raise invalid("it does not begin with GGUF")
    version = cursor.number(4, "the version")
    if version not in VERSIONS:
        if version & 0xFFFF == 0:
            raise invalid("it is big-endian; only little-endian files are supported")
        raise invalid(f"GGUF version {version} is not supported (2 and 3 are)")
    tensor_count = _count(cursor, "tensors", least_bytes=8 + 4 + 8 + 4 + 8, most=TENSORS_MAX)
    entry_count = _count(cursor, "metadata entries", least_bytes=8 + 4 + 1, most=ENTRIES_MAX)
    metadata: dict[str, Scalar | Items] = {}
    for index in range(entry_count):
        key = cursor.name(f"the name of metadata entry {index}")
        if key in metadata:
            raise invalid(f"metadata entry {key!r} appears twice")
        metadata[key] = _value(cursor, key)
    alignment = metadata.get("general.alignment", ALIGNMENT_DEFAULT)
    if not _is_alignment(alignment):
        raise invalid(f"general.alignment is {alignment!r}; it must be a power of two from 8")
    assert isinstance(alignment, int)
    rows = [_row(cursor, index) for index in range(tensor_count)]
    data_offset = _padded(cursor.offset, alignment)
    tensors = _placed(rows, source.size_bytes - data_offset, alignment)
    return Header(version, metadata, tensors, data_offset)


def _count(cursor: _Cursor, what: str, *, least_bytes: int, most: int) -> int:
    count = cursor.number(10, f"the number of {what}")
    if count > most:
        raise invalid(f"it claims {count} {what}; at most {most} are allowed")
    if count * least_bytes > cursor.left:
        raise invalid(f"it claims {count} {what}, more than its {cursor.left} bytes can hold")
    return count


def _is_alignment(value: Scalar | Items) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return 8 <= value <= ALIGNMENT_MAX and value & (value - 1) == 0


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _value(cursor: _Cursor, key: str) -> Scalar | Items:
    kind = cursor.number(4, f"the type of {key!r}")
    if kind == ARRAY:
        return _array(cursor, key)
    return _scalar(cursor, kind, key)


def _scalar(cursor: _Cursor, kind: int, key: str) -> Scalar:
    if kind == STRING:
        # Some vocabularies hold broken UTF-8 on purpose; nothing that we read by value does.
        return cursor.text_bytes(STRING_BYTES_MAX, f"the value of {key!r}").decode(
            "utf-8", "replace"
        )
    form = SCALARS.get(kind)
    if form is None:
        raise invalid(f"metadata entry {key!r} has the unknown type {kind}")
    value: Scalar = form.unpack(cursor.take(form.size, f"the value of {key!r}"))[0]
    return value


def _array(cursor: _Cursor, key: str) -> Items:
    kind = cursor.number(4, f"the item type of {key!r}")
    if kind == ARRAY:
        raise invalid(f"metadata entry {key!r} nests arrays")
    if kind != STRING and kind not in SCALARS:
        raise invalid(f"metadata entry {key!r} has items of the unknown type {kind}")
    least = 8 if kind == STRING else SCALARS[kind].size
    count = _count(cursor, f"items in {key!r}", least_bytes=least, most=ARRAY_ITEMS_MAX)
    if kind == STRING:
        what = f"an item of {key!r}"
        for _ in range(count):
            cursor.skip(cursor.number(10, what), what)
        return Items(count)
    if count > ARRAY_ITEMS_KEPT:
        cursor.skip(count * least, f"the items of {key!r}")
        return Items(count)
    return Items(count, tuple(_scalar(cursor, kind, key) for _ in range(count)))


def _row(cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], int, int]:
    what = f"tensor {index}"
    name = cursor.name(f"the name of {what}")
    dimensions = cursor.number(4, what)
    if dimensions > DIMENSIONS_MAX:
        raise invalid(f"tensor {name!r} has {dimensions} dimensions; at most 4 are allowed")
    shape = tuple(cursor.number(10, what) for _ in range(dimensions))
    if 0 in shape or math.prod(shape) > ELEMENTS_MAX:
        raise invalid(f"tensor {name!r} has the impossible shape {shape}")
    return name, shape, cursor.number(4, what), cursor.number(10, what)


def _placed(
    rows: list[tuple[str, tuple[int, ...], int, int]], data_bytes: int, alignment: int
) -> tuple[Tensor, ...]:
    """Give each tensor its size; all must follow each other, aligned, inside the data section."""
    tensors: list[Tensor] = []
    names: set[str] = set()
    expected = 0
    for index, (name, shape, kind, offset) in enumerate(rows):
        if name in names:
            raise invalid(f"tensor {name!r} appears twice")
        names.add(name)
        if offset != expected:
            raise invalid(f"tensor {name!r} is at offset {offset} instead of {expected}")
        following = rows[index + 1][3] if index + 1 < len(rows) else data_bytes
        size = _tensor_bytes(name, shape, kind, following - offset)
        if offset + size > data_bytes:
            raise invalid(
                f"tensor {name!r} ends {offset + size - max(data_bytes, 0)} bytes"
                " after the end of the file"
            )
        tensors.append(Tensor(name, shape, kind, offset, size))
        expected = _padded(offset + size, alignment)
    return tuple(tensors)


def _tensor_bytes(name: str, shape: tuple[int, ...], kind: int, room_bytes: int) -> int:
    block = BLOCKS.get(kind)
    if block is None:
        if room_bytes <= 0:
            raise invalid(f"tensor {name!r} of the unknown type {kind} has no room")
        return room_bytes
    elements, size = block
    row = shape[0] if shape else 1
    if row % elements:
        raise invalid(f"tensor {name!r} has rows of {row}, not a multiple of {elements}")
    return math.prod(shape) // elements * size
