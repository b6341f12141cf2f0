import struct

import pytest

from helexa.model_runtime.models import gguf_writer
from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.gguf_writer import Entry
from helexa.model_runtime.models.summary import summarize
from helexa.util.errors import SourceError
from tests.fakes.weights_files import gguf, llama_entries, tensor, tiny_llama

TENSORS = [tensor("t", 8, 3)]


def test_a_chat_model_is_summarised() -> None:
    summary = summarize(Buffer(tiny_llama()))
    assert summary.architecture == "llama"
    assert summary.weights_bytes == 96 + 48
    assert summary.parameters == 48
    assert summary.context_tokens_trained == 64
    assert summary.layers == 2
    # 2 layers, 2 key/value heads, 2 wide (8 / 4 heads), key and value, 2 bytes each.
    assert summary.kv_bytes_per_token_f16 == 2 * 2 * (2 + 2) * 2
    assert summary.embedding_dimensions == 8
    assert summary.feed_forward_width == 16
    assert not summary.is_embedder
    assert summary.chat_template == "{{ messages }}"
    assert summary.vocabulary_size == 3


def test_a_template_for_tools_of_its_own_is_part_of_the_summary() -> None:
    key = "tokenizer.chat_template.tool_use"
    assert "tools" in summary_of(**{key: gguf_writer.string(key, "{{ tools }}")}).chat_template


def summary_of(**changed: Entry):  # type: ignore[no-untyped-def]
    return summarize(Buffer(gguf(llama_entries(**changed), TENSORS)))


def test_head_widths_and_heads_per_layer_are_honoured() -> None:
    summary = summary_of(
        key=gguf_writer.number("llama.attention.key_length", 10),
        value=gguf_writer.number("llama.attention.value_length", 6),
        kv_heads=gguf_writer.numbers("llama.attention.head_count_kv", [3, 0]),
    )
    assert summary.kv_bytes_per_token_f16 == 3 * (10 + 6) * 2


def test_an_encoder_keeps_nothing_between_tokens_and_gives_vectors() -> None:
    summary = summary_of(causal=gguf_writer.flag("llama.attention.causal", value=False))
    assert summary.is_embedder
    assert summary.kv_bytes_per_token_f16 == 0


def test_a_decoder_with_a_pooling_is_an_embedder_with_a_cache() -> None:
    summary = summary_of(pooling=gguf_writer.number("llama.pooling_type", 3))
    assert summary.is_embedder
    assert summary.kv_bytes_per_token_f16 > 0


def test_the_experts_that_work_on_a_token_count_as_its_inner_width() -> None:
    summary = summary_of(
        expert=gguf_writer.number("llama.expert_feed_forward_length", 12),
        used=gguf_writer.number("llama.expert_used_count", 4),
    )
    assert summary.feed_forward_width == 48


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (gguf_writer.string("general.architecture", ""), "names no architecture"),
        (gguf_writer.number("split.count", 3), "one of 3 parts"),
        (gguf_writer.number("llama.block_count", 1 << 31), "block_count is 2147483648"),
        (gguf_writer.string("llama.block_count", "2"), "block_count is '2'"),
        (gguf_writer.numbers("llama.attention.head_count_kv", [1, 1, 1]), "3 items for 2 layers"),
        (gguf_writer.numbers("llama.attention.head_count_kv", [1, -1]), "is -1"),
        (
            Entry("llama.context_length", 10, struct.pack("<Q", 1 << 60)),
            "context_length is 1152921504606846976",
        ),
    ],
)
def test_impossible_numbers_are_refused_by_name(entry: Entry, reason: str) -> None:
    entries = [kept for kept in llama_entries() if kept.key != entry.key]
    with pytest.raises(SourceError, match=reason):
        summarize(Buffer(gguf([*entries, entry], TENSORS)))


def test_a_file_without_tensors_is_no_weights() -> None:
    with pytest.raises(SourceError, match="holds no tensors"):
        summarize(Buffer(gguf(llama_entries(), [])))
