"""The header of a safetensors file: where each tensor lies. Pure.

Like `gguf`, nothing in the file is trusted: the header's length, each shape and each range are
checked against the file's size.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from helexa.model_runtime.models.byte_source import ByteSource
from helexa.model_runtime.models.gguf import invalid

HEADER_BYTES_MAX: Final = 64 << 20
DIMENSIONS_MAX: Final = 8
CHUNK_BYTES: Final = 1 << 18
WIDTHS: Final[Mapping[str, int]] = {"F32": 4, "F16": 2, "BF16": 2}


class _Row(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in the file: `dtype` of WIDTHS, `begin` is an offset in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    size_bytes: int


def read_table(source: ByteSource) -> dict[str, StoredTensor]:
    """Return where each tensor of the kinds in WIDTHS lies; others are left out.

    Raises SourceError (HX-0501) when the file is not a whole safetensors file.
    """
    head = source.read_at(0, 8)
    if len(head) < 8:
        raise invalid("it is too short for safetensors")
    length = struct.unpack("<Q", head)[0]
    if length > HEADER_BYTES_MAX or 8 + length > source.size_bytes:
        raise invalid(f"its safetensors header claims {length} bytes")
    try:
        table = msgspec.json.decode(source.read_at(8, length), type=dict[str, msgspec.Raw])
        table.pop("__metadata__", None)
        rows = {name: msgspec.json.decode(raw, type=_Row) for name, raw in table.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"its safetensors header is not as specified: {error}") from None
    base = 8 + length
    room = source.size_bytes - base
    return {
        name: _stored(name, row, base, room) for name, row in rows.items() if row.dtype in WIDTHS
    }


def _stored(name: str, row: _Row, base: int, room: int) -> StoredTensor:
    begin, end = row.data_offsets
    if len(row.shape) > DIMENSIONS_MAX or any(not 0 < side <= 1 << 40 for side in row.shape):
        raise invalid(f"tensor {name!r} has the impossible shape {row.shape[:DIMENSIONS_MAX]}")
    size = math.prod(row.shape) * WIDTHS[row.dtype]
    if not 0 <= begin <= end <= room or end - begin != size:
        raise invalid(
            f"tensor {name!r} lies at {begin}..{end}, outside the file or of a wrong size"
        )
    return StoredTensor(row.dtype, row.shape, base + begin, size)


def chunks(source: ByteSource, tensor: StoredTensor) -> Iterator[bytes]:
    """Yield a tensor's bytes in pieces of at most CHUNK_BYTES.

    Raises SourceError when the file ends early.
    """
    offset = tensor.begin
    left = tensor.size_bytes
    while left:
        piece = source.read_at(offset, min(left, CHUNK_BYTES))
        if not piece:
            raise invalid(f"it ends at {offset}, inside a tensor")
        yield piece
        offset += len(piece)
        left -= len(piece)
