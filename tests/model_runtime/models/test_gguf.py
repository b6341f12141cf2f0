"""The header parser: what it reads, and that no file can fool it."""

import random
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.models import gguf, gguf_writer
from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.gguf import Items, parse
from helexa.util.errors import SourceError
from tests.fakes.weights_files import gguf as build
from tests.fakes.weights_files import llama_entries, tensor, tiny_llama


def parsed(data: bytes) -> gguf.Header:
    return parse(Buffer(data))


def refused(data: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        parsed(data)
    assert caught.value.error_id == "HX-0501"
    return caught.value.message


def head(tensors: int, entries: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def entry(key: bytes, kind: int, payload: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + payload


def row(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def test_metadata_and_tensors_are_read() -> None:
    header = parsed(tiny_llama())
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["llama.block_count"] == 2
    assert header.metadata["tokenizer.ggml.tokens"] == Items(3)
    assert [(t.name, t.shape, t.offset, t.size_bytes, t.elements) for t in header.tensors] == [
        ("token_embd.weight", (8, 3), 0, 96, 24),
        ("output.weight", (8, 3), 96, 48, 24),
    ]
    assert header.data_offset % 32 == 0


def test_every_scalar_kind_is_read() -> None:
    values = {0: 200, 1: -5, 2: 60000, 3: -300, 4: 4_000_000_000, 5: -70000, 6: 0.5, 7: True,
              10: 1 << 60, 11: -(1 << 60), 12: 2.5}  # fmt: skip
    body = b"".join(
        entry(b"k%d" % kind, kind, gguf.SCALARS[kind].pack(value)) for kind, value in values.items()
    )
    header = parsed(head(0, len(values)) + body)
    assert header.metadata == {f"k{kind}": value for kind, value in values.items()}


def test_short_number_arrays_are_kept_and_long_ones_only_counted() -> None:
    short = gguf_writer.numbers("short", [1, -2])
    long = gguf_writer.numbers("long", [7] * 5000)
    last = gguf_writer.number("last", 9)
    metadata = parsed(build([short, long, last], [])).metadata
    assert metadata["short"] == Items(2, (1, -2))
    assert metadata["long"] == Items(5000)
    assert metadata["last"] == 9


def test_version_2_is_read_and_others_are_named() -> None:
    assert parsed(head(0, 0, version=2)).version == 2
    assert "version 1 is not supported" in refused(head(0, 0, version=1))
    assert "version 4 is not supported" in refused(head(0, 0, version=4))
    assert "big-endian" in refused(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))


def test_a_tensor_of_a_newer_kind_takes_the_room_up_to_the_next_one() -> None:
    rows = row(b"a", (256,), 99, 0) + row(b"b", (8,), 0, 160)
    data = head(2, 0) + rows
    data += bytes(-len(data) % 32) + bytes(192)
    assert [t.size_bytes for t in parsed(data).tensors] == [160, 32]


def test_quantised_sizes_follow_the_block_table() -> None:
    data = head(1, 0) + row(b"q", (64, 2), 3, 0)
    data += bytes(-len(data) % 32) + bytes(80)
    assert parsed(data).tensors[0].size_bytes == 80


HUGE = (1 << 64) - 1
BOMBS = {
    "empty": b"",
    "not gguf": b"PK\x03\x04" + bytes(100),
    "only the magic": b"GGUF",
    "many tensors": head(HUGE, 0),
    "many tensors that could not fit": head(100_000, 0) + bytes(64),
    "many entries": head(0, HUGE),
    "many entries that could not fit": head(0, 60_000) + bytes(64),
    "long key": head(0, 1) + struct.pack("<Q", HUGE) + bytes(64),
    "key past the limit": head(0, 1) + text(b"k" * 70_000) + bytes(64),
    "key not UTF-8": head(0, 1) + entry(b"\xff\xfe", 0, b"\x01"),
    "long string": head(0, 1) + entry(b"k", 8, struct.pack("<Q", HUGE)) + bytes(64),
    "string past the end": head(0, 1) + entry(b"k", 8, struct.pack("<Q", 500)) + bytes(64),
    "unknown kind": head(0, 1) + entry(b"k", 13, bytes(16)),
    "nested array": head(0, 1) + entry(b"k", 9, struct.pack("<IQ", 9, 1) + bytes(64)),
    "array of unknown": head(0, 1) + entry(b"k", 9, struct.pack("<IQ", 77, 1) + bytes(64)),
    "huge array": head(0, 1) + entry(b"k", 9, struct.pack("<IQ", 0, HUGE)) + bytes(64),
    "array past the end": head(0, 1) + entry(b"k", 9, struct.pack("<IQ", 10, 1000)) + bytes(64),
    "string array past the end": head(0, 1)
    + entry(b"k", 9, struct.pack("<IQQ", 8, 2, 1 << 40))
    + bytes(64),
    "same key twice": head(0, 2) + entry(b"k", 0, b"\x01") * 2 + bytes(16),
    "alignment of zero": head(0, 1) + entry(b"general.alignment", 4, struct.pack("<I", 0)),
    "alignment not a power of two": head(0, 1)
    + entry(b"general.alignment", 4, struct.pack("<I", 48)),
    "alignment as text": head(0, 1) + entry(b"general.alignment", 8, text(b"32")),
    "five dimensions": head(1, 0) + row(b"t", (1, 1, 1, 1, 1), 0, 0) + bytes(64),
    "many dimensions": head(1, 0) + text(b"t") + struct.pack("<I", 1 << 31) + bytes(64),
    "a side of zero": head(1, 0) + row(b"t", (0, 4), 0, 0) + bytes(64),
    "overflowing shape": head(1, 0) + row(b"t", (1 << 63, 1 << 63, 4), 0, 0) + bytes(64),
    "tensor larger than the file": head(1, 0) + row(b"t", (1 << 20,), 0, 0) + bytes(64),
    "offset past the file": head(1, 0) + row(b"t", (4,), 0, 1 << 40) + bytes(64),
    "overlapping tensors": head(2, 0) + row(b"a", (8,), 0, 0) + row(b"b", (8,), 0, 0) + bytes(256),
    "same tensor twice": head(2, 0) + row(b"a", (8,), 0, 0) + row(b"a", (8,), 0, 32) + bytes(256),
    "rows that break a block": head(1, 0) + row(b"t", (33,), 3, 0) + bytes(256),
    "unknown kind without room": head(1, 0) + row(b"t", (4,), 99, 0),
    "tensors cut off": tiny_llama()[:-64],
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_gets_through_or_takes_memory(name: str) -> None:
    """S04: counts and offsets are checked against the file; a bad file is told, not followed."""
    tracemalloc.start()
    try:
        reason = refused(BOMBS[name])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reason.startswith("the weights file is not valid: ")
    assert peak < 4 << 20


def test_every_cut_of_a_file_is_noticed() -> None:
    data = tiny_llama()
    for length in range(len(data) - 16):  # the last tensor's padding may be missing
        refused(data[:length])


def test_random_damage_is_refused_or_harmless() -> None:
    data = tiny_llama()
    chance = random.Random(3)
    for _ in range(2000):
        place = chance.randrange(len(data))
        changed = data[:place] + bytes([chance.randrange(256)]) + data[place + 1 :]
        try:
            header = parsed(changed)
        except SourceError:
            continue
        ends = [header.data_offset + t.offset + t.size_bytes for t in header.tensors]
        assert all(end <= len(changed) for end in ends)


@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_end_in_a_header_or_a_source_error(tail: bytes) -> None:
    try:
        parsed(b"GGUF\x03\x00\x00\x00" + tail)
    except SourceError as error:
        assert error.error_id == "HX-0501"


def test_a_header_may_be_longer_than_one_block() -> None:
    entries = [
        gguf_writer.strings("words", [f"word {index}" for index in range(20_000)]),
        *llama_entries(),
    ]
    header = parsed(build(entries, [tensor("t", 8)]))
    assert header.metadata["words"] == Items(20_000)
    assert header.metadata["llama.block_count"] == 2
