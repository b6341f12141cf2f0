import msgspec
import pytest

from helexa.model_runtime.engines.legacy import LegacyLogprobs

PIECE = {
    "content": [
        {"id": 1, "token": " a", "logprob": -0.5,
         "top_logprobs": [{"token": " a", "logprob": -0.5}, {"token": " b", "logprob": -1.0}]},
        {"id": 2, "token": "é", "logprob": -2.0, "top_logprobs": []},
    ]
}  # fmt: skip


def test_pieces_get_openais_legacy_shape_with_running_offsets():
    logprobs = LegacyLogprobs(keep=True)
    assert logprobs.add(PIECE) == {
        "tokens": [" a", "é"],
        "token_logprobs": [-0.5, -2.0],
        "top_logprobs": [{" a": -0.5, " b": -1.0}, {}],
        "text_offset": [0, 2],
    }
    assert logprobs.add(PIECE)["text_offset"] == [3, 5]
    assert logprobs.whole()["tokens"] == [" a", "é", " a", "é"]


def test_no_logprobs_stay_none():
    logprobs = LegacyLogprobs()
    assert logprobs.add(None) is None
    assert logprobs.add({"content": None}) is None
    assert logprobs.whole() is None


def test_a_stream_keeps_nothing():
    logprobs = LegacyLogprobs()
    logprobs.add(PIECE)
    assert logprobs.whole() is None


def test_a_wrong_shape_is_told_apart():
    with pytest.raises(msgspec.ValidationError):
        LegacyLogprobs().add({"content": 7})
