"""Writing a GGUF file of version 3, piece by piece. Pure: bytes go to a callable.

Enough for what we convert ourselves: scalars, strings, and arrays of strings and of 32-bit numbers;
tensors arrive as an iterator of chunks, so memory stays small whatever the model's size.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from helexa.model_runtime.models.gguf import ALIGNMENT_DEFAULT, MAGIC

F32: Final = 0
F16: Final = 1
_U32, _I32, _FLOAT, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


@dataclass(frozen=True, slots=True)
class Entry:
    """One metadata entry, already in its wire form."""

    key: str
    kind: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to write. `shape` is in file order: the fastest-changing dimension first."""

    name: str
    shape: tuple[int, ...]
    kind: int
    size_bytes: int
    chunks: Callable[[], Iterable[bytes]]


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def string(key: str, value: str) -> Entry:
    """Return a string entry."""
    return Entry(key, _STRING, _text(value))


def number(key: str, value: int) -> Entry:
    """Return an unsigned 32-bit entry."""
    return Entry(key, _U32, struct.pack("<I", value))


def real(key: str, value: float) -> Entry:
    """Return a 32-bit float entry."""
    return Entry(key, _FLOAT, struct.pack("<f", value))


def flag(key: str, *, value: bool) -> Entry:
    """Return a boolean entry."""
    return Entry(key, _BOOL, struct.pack("<?", value))


def strings(key: str, values: Sequence[str]) -> Entry:
    """Return an array of strings."""
    head = struct.pack("<IQ", _STRING, len(values))
    return Entry(key, _ARRAY, head + b"".join(map(_text, values)))


def numbers(key: str, values: Sequence[int]) -> Entry:
    """Return an array of signed 32-bit numbers."""
    head = struct.pack("<IQ", _I32, len(values))
    return Entry(key, _ARRAY, head + struct.pack(f"<{len(values)}i", *values))


def write(
    entries: Sequence[Entry], tensors: Sequence[PlannedTensor], emit: Callable[[bytes], None]
) -> int:
    """Write a whole file through `emit` and return its size in bytes.

    Raises ValueError when a tensor's chunks do not add up to its `size_bytes`.
    """
    head = [MAGIC, struct.pack("<IQQ", 3, len(tensors), len(entries))]
    for entry in entries:
        head += (_text(entry.key), struct.pack("<I", entry.kind), entry.payload)
    offset = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += (_text(tensor.name), shape, struct.pack("<IQ", tensor.kind, offset))
        offset += tensor.size_bytes + _padding(tensor.size_bytes)
    data = b"".join(head)
    emit(data + bytes(_padding(len(data))))
    for tensor in tensors:
        written = 0
        for chunk in tensor.chunks():
            written += len(chunk)
            emit(chunk)
        if written != tensor.size_bytes:
            raise ValueError(
                f"tensor {tensor.name!r} gave {written} bytes instead of {tensor.size_bytes}"
            )
        emit(bytes(_padding(written)))
    return len(data) + _padding(len(data)) + offset


def _padding(size: int) -> int:
    return -size % ALIGNMENT_DEFAULT
