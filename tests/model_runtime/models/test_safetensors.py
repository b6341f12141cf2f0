import json
import struct

import pytest

from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.safetensors import CHUNK_BYTES, StoredTensor, chunks, read_table
from helexa.util.errors import SourceError
from tests.fakes.weights_files import safetensors


def raw(table: object, data: bytes = b"") -> bytes:
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + data


def test_tensors_are_found_where_they_lie() -> None:
    data = safetensors({"a": ("F32", [2, 2], b"A" * 16), "b": ("F16", [3], b"B" * 6)})
    table = read_table(Buffer(data))
    assert {name: (t.dtype, t.shape, t.size_bytes) for name, t in table.items()} == {
        "a": ("F32", (2, 2), 16),
        "b": ("F16", (3,), 6),
    }
    assert b"".join(chunks(Buffer(data), table["b"])) == b"B" * 6


def test_kinds_that_are_not_needed_are_left_out() -> None:
    assert read_table(Buffer(safetensors({"ids": ("I64", [1], bytes(8))}))) == {}


def test_chunks_are_bounded_and_complete() -> None:
    data = bytes(CHUNK_BYTES + 4)
    sizes = [len(c) for c in chunks(Buffer(data), StoredTensor("F32", (1,), 0, len(data)))]
    assert sizes == [CHUNK_BYTES, 4]


def test_a_file_that_ends_inside_a_tensor_is_told() -> None:
    with pytest.raises(SourceError, match="inside a tensor"):
        list(chunks(Buffer(b"12"), StoredTensor("F32", (1,), 0, 4)))


def row(begin: int, end: int, shape: object = (1,)) -> dict[str, object]:
    return {"t": {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234567",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b'{"a"',
        struct.pack("<Q", 2) + b"\xff\xff",
        raw({"t": 7}),
        raw({"t": {"dtype": "F32"}}),
        raw(row(0, 400), bytes(8)),
        raw(row(-4, 0), bytes(8)),
        raw(row(4, 0), bytes(8)),
        raw(row(0, 8), bytes(8)),
        raw(row(0, 4, [0]), bytes(8)),
        raw(row(0, 4, [1 << 50]), bytes(8)),
        raw(row(0, 4, [1] * 100), bytes(8)),
        raw(row(0, 1 << 70), bytes(8)),
    ],
)
def test_damaged_headers_are_refused(data: bytes) -> None:
    with pytest.raises(SourceError) as caught:
        read_table(Buffer(data))
    assert caught.value.error_id == "HX-0501"
