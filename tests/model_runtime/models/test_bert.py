"""The conversion, tensor by tensor on a toy; the real model is in test_pull."""

import io
import json
import struct
from collections.abc import Callable

import pytest

from helexa.model_runtime.models import bert
from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.gguf import Header, Items, parse
from helexa.model_runtime.models.summary import summarize
from helexa.util.errors import SourceError
from tests.fakes.weights_files import (
    BERT_CONFIG,
    bert_config,
    bert_tensors,
    bert_vocabulary,
    safetensors,
)


def converted(
    tensors: dict[str, tuple[str, list[int], bytes]] | None = None,
    vocabulary: bytes = bert_vocabulary(),
    config: bytes = bert_config(),
) -> bytes:
    file = io.BytesIO()
    weights = Buffer(safetensors(bert_tensors() if tensors is None else tensors))
    size = bert.convert("toy", weights, vocabulary, config, file.write)
    assert size == len(file.getvalue())
    return file.getvalue()


def values(data: bytes, header: Header, name: str) -> list[float]:
    found = next(t for t in header.tensors if t.name == name)
    begin = header.data_offset + found.offset
    code = "e" if found.kind == 1 else "f"
    return list(struct.unpack(f"<{found.elements}{code}", data[begin : begin + found.size_bytes]))


def test_every_tensor_keeps_its_values_and_gets_its_name_and_shape() -> None:
    data = converted()
    header = parse(Buffer(data))
    assert len(header.tensors) == 5 + 8 * 2
    words = header.tensors[0]
    assert (words.name, words.shape, words.kind) == ("token_embd.weight", (4, 8), 1)
    assert values(data, header, "token_embd.weight") == [i / 4 for i in range(32)]
    assert values(data, header, "blk.0.ffn_down.weight") == [i / 4 for i in range(32)]
    assert values(data, header, "blk.0.attn_q.bias") == [0, 0.25, 0.5, 0.75]
    kinds = {t.name: t.kind for t in header.tensors}
    assert kinds["blk.0.attn_q.weight"] == 1
    assert kinds["blk.0.attn_q.bias"] == kinds["position_embd.weight"] == 0


def test_the_vocabulary_is_marked_as_the_engine_wants_it() -> None:
    assert [bert._token(word) for word in ("[CLS]", "[unused3]", "cat", "##s")] == [
        ("[CLS]", 3),
        ("[unused3]", 5),
        ("▁cat", 1),
        ("s", 1),
    ]
    metadata = parse(Buffer(converted())).metadata
    assert metadata["tokenizer.ggml.tokens"] == Items(8)
    assert metadata["tokenizer.ggml.token_type"] == Items(8, (3, 5, 3, 3, 3, 3, 1, 1))
    assert metadata["tokenizer.ggml.bos_token_id"] == 3
    assert metadata["tokenizer.ggml.seperator_token_id"] == 4


def test_the_result_is_an_embedding_model_and_the_same_every_time() -> None:
    first = converted()
    summary = summarize(Buffer(first))
    assert summary.is_embedder
    assert (summary.embedding_dimensions, summary.context_tokens_trained) == (4, 16)
    assert converted() == first


def test_half_precision_checkpoints_and_the_bert_prefix_work() -> None:
    plain = converted(bert_tensors("F16"))
    prefixed = converted({f"bert.{k}": v for k, v in bert_tensors("F16").items()})
    assert plain == prefixed == converted()


def test_bfloat16_is_widened_exactly() -> None:
    assert list(bert._floats(struct.pack("<2H", 0x3F80, 0xC040), "BF16")) == [1.0, -3.0]


def test_windows_line_ends_and_odd_separators_do_not_change_the_count() -> None:
    assert converted(vocabulary=bert_vocabulary().replace(b"\n", b"\r\n")) == converted()
    odd = bert_vocabulary().replace(b"cat", "\u2028".encode())
    assert parse(Buffer(converted(vocabulary=odd))).metadata["tokenizer.ggml.tokens"] == Items(8)


def without_a_tensor() -> bytes:
    tensors = bert_tensors()
    del tensors["encoder.layer.0.output.dense.bias"]
    return converted(tensors)


def too_large_a_weight() -> bytes:
    tensors = bert_tensors()
    tensors["embeddings.word_embeddings.weight"] = ("F32", [8, 4], struct.pack("<32f", *[1e6] * 32))
    return converted(tensors)


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (without_a_tensor, "no tensor 'encoder.layer.0.output.dense.bias'"),
        (too_large_a_weight, "a weight that 16 bits cannot"),
        (lambda: converted(vocabulary=b"cat\n"), "there are 1 words"),
        (lambda: converted(vocabulary=bert_vocabulary().replace(b"CLS", b"CLX")), r"no \[CLS\]"),
        (lambda: converted(config=b"{}"), "config.json"),
        (lambda: converted(config=b"\xff"), "config.json"),
        (
            lambda: converted(config=json.dumps(BERT_CONFIG | {"hidden_act": "relu"}).encode()),
            "only plain BERT",
        ),
        (
            lambda: converted(
                config=json.dumps(BERT_CONFIG | {"num_hidden_layers": 9999}).encode()
            ),
            "only plain BERT",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_told(attempt: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        attempt()
    assert caught.value.error_id == "HX-0501"
