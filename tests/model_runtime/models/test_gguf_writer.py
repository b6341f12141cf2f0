import pytest

from helexa.model_runtime.models import gguf_writer
from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.gguf import Items, parse
from helexa.model_runtime.models.gguf_writer import F32, PlannedTensor
from tests.fakes.weights_files import gguf, tensor


def test_what_is_written_is_read_back() -> None:
    data = gguf(
        [
            gguf_writer.string("s", "wört"),
            gguf_writer.number("n", 7),
            gguf_writer.real("r", 0.25),
            gguf_writer.flag("f", value=False),
            gguf_writer.strings("ss", ["a", ""]),
            gguf_writer.numbers("nn", [-1, 2]),
        ],
        [tensor("a", 3), tensor("b", 5, 2, kind=1)],
    )
    header = parse(Buffer(data))
    assert header.metadata == {
        "s": "wört", "n": 7, "r": 0.25, "f": False, "ss": Items(2), "nn": Items(2, (-1, 2)),
    }  # fmt: skip
    assert [(t.shape, t.offset, t.size_bytes) for t in header.tensors] == [
        ((3,), 0, 12),
        ((5, 2), 32, 20),
    ]
    assert len(data) % 32 == 0


def test_the_size_is_returned_and_every_tensor_is_aligned() -> None:
    pieces: list[bytes] = []
    size = gguf_writer.write([], [tensor("a", 1), tensor("b", 9)], pieces.append)
    assert size == sum(map(len, pieces))


def test_a_tensor_that_gives_too_few_bytes_is_a_bug_and_told() -> None:
    short = PlannedTensor("a", (4,), F32, 16, lambda: [b"1234"])
    with pytest.raises(ValueError, match="gave 4 bytes instead of 16"):
        gguf_writer.write([], [short], lambda _data: None)
