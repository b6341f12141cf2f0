"""Turning a sentence-transformers BERT checkpoint (safetensors) into a GGUF file. Pure.

Matrices become 16-bit floats; biases, norms and the small position and type tables stay 32-bit.
Tensor by tensor and chunk by chunk: a few hundred KiB of memory whatever the model's size, and no
numpy. The result is a function of the input alone, so its digest can be pinned.
"""

import array
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from helexa.model_runtime.models import gguf_writer, safetensors
from helexa.model_runtime.models.byte_source import ByteSource
from helexa.model_runtime.models.gguf import invalid
from helexa.model_runtime.models.gguf_writer import Entry, PlannedTensor
from helexa.model_runtime.models.safetensors import StoredTensor

_MEAN_POOLING: Final = 1
_MOSTLY_F16: Final = 1
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5
_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORD_START: Final = "\u2581"
_LAYERS_MAX: Final = 128
_VOCABULARY_MAX: Final = 1_000_000

_TABLES: Final = (
    ("token_embd.weight", "embeddings.word_embeddings.weight", True),
    ("position_embd.weight", "embeddings.position_embeddings.weight", False),
    ("token_types.weight", "embeddings.token_type_embeddings.weight", False),
    ("token_embd_norm.weight", "embeddings.LayerNorm.weight", False),
    ("token_embd_norm.bias", "embeddings.LayerNorm.bias", False),
)
_LAYER_MATRICES: Final = (
    ("attn_q", "attention.self.query"),
    ("attn_k", "attention.self.key"),
    ("attn_v", "attention.self.value"),
    ("attn_output", "attention.output.dense"),
    ("ffn_up", "intermediate.dense"),
    ("ffn_down", "output.dense"),
)
_LAYER_NORMS: Final = (
    ("attn_output_norm", "attention.output.LayerNorm"),
    ("layer_output_norm", "output.LayerNorm"),
)


class BertConfig(msgspec.Struct, frozen=True):
    """The keys of `config.json` that the conversion needs."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    layer_norm_eps: float
    type_vocab_size: int = 2
    model_type: str = "bert"
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


def convert(
    name: str,
    weights: ByteSource,
    vocabulary: bytes,
    config: bytes,
    emit: Callable[[bytes], None],
) -> int:
    """Write the GGUF file for a BERT embedding model with mean pooling; return its size in bytes.

    `vocabulary` is `vocab.txt`, `config` is `config.json`. Raises SourceError (HX-0501) when the
    checkpoint is damaged or not such a model.
    """
    parsed = _config(config)
    words = vocabulary.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n").split("\n")
    table = safetensors.read_table(weights)
    prefix = "" if "embeddings.word_embeddings.weight" in table else "bert."
    tensors = [
        _planned(weights, table, target, prefix + origin, is_matrix=is_matrix)
        for target, origin, is_matrix in _rows(parsed.num_hidden_layers)
    ]
    if tensors[0].shape != (parsed.hidden_size, len(words)):
        raise invalid(
            f"its word table is {tensors[0].shape}, but there are {len(words)} words"
            f" of width {parsed.hidden_size}"
        )
    entries = [*_model_entries(name, parsed), *_vocabulary_entries(words, parsed.type_vocab_size)]
    return gguf_writer.write(entries, tensors, emit)


def _config(data: bytes) -> BertConfig:
    try:
        config = msgspec.json.decode(data, type=BertConfig)
    except msgspec.DecodeError as error:
        raise invalid(f"its config.json is not that of a BERT model: {error}") from None
    kind = (config.model_type, config.hidden_act, config.position_embedding_type)
    if kind != ("bert", "gelu", "absolute") or not 0 < config.num_hidden_layers <= _LAYERS_MAX:
        raise invalid(f"only plain BERT models can be converted; this is {', '.join(kind)}")
    return config


def _rows(layers: int) -> Iterator[tuple[str, str, bool]]:
    """Yield (name in GGUF, name in the checkpoint, is a matrix) in file order."""
    yield from _TABLES
    for layer in range(layers):
        origin = f"encoder.layer.{layer}."
        for target, part in _LAYER_MATRICES:
            yield f"blk.{layer}.{target}.weight", f"{origin}{part}.weight", True
            yield f"blk.{layer}.{target}.bias", f"{origin}{part}.bias", False
        for target, part in _LAYER_NORMS:
            yield f"blk.{layer}.{target}.weight", f"{origin}{part}.weight", False
            yield f"blk.{layer}.{target}.bias", f"{origin}{part}.bias", False


def _planned(
    source: ByteSource,
    table: dict[str, StoredTensor],
    target: str,
    origin: str,
    *,
    is_matrix: bool,
) -> PlannedTensor:
    stored = table.get(origin)
    if stored is None:
        raise invalid(f"it has no tensor {origin!r}")
    elements = stored.size_bytes // safetensors.WIDTHS[stored.dtype]
    return PlannedTensor(
        name=target,
        shape=tuple(reversed(stored.shape)),
        kind=gguf_writer.F16 if is_matrix else gguf_writer.F32,
        size_bytes=elements * (2 if is_matrix else 4),
        chunks=partial(_recoded, source, stored, to_f16=is_matrix),
    )


def _recoded(source: ByteSource, stored: StoredTensor, *, to_f16: bool) -> Iterator[bytes]:
    for piece in safetensors.chunks(source, stored):
        if stored.dtype == "F16" and to_f16:
            yield piece
            continue
        values = _floats(piece, stored.dtype)
        try:
            yield struct.pack(f"<{len(values)}{'e' if to_f16 else 'f'}", *values)
        except OverflowError:
            raise invalid("it holds a weight that 16 bits cannot") from None


def _floats(piece: bytes, dtype: str) -> Sequence[float]:
    if dtype == "F16":
        return struct.unpack(f"<{len(piece) // 2}e", piece)
    if dtype == "BF16":
        # The upper half of a 32-bit float.
        halves = struct.unpack(f"<{len(piece) // 2}H", piece)
        piece = struct.pack(f"<{len(halves)}I", *(half << 16 for half in halves))
    values = array.array("f", piece)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _model_entries(name: str, config: BertConfig) -> list[Entry]:
    return [
        gguf_writer.string("general.architecture", "bert"),
        gguf_writer.string("general.name", name),
        gguf_writer.number("general.file_type", _MOSTLY_F16),
        gguf_writer.number("bert.block_count", config.num_hidden_layers),
        gguf_writer.number("bert.context_length", config.max_position_embeddings),
        gguf_writer.number("bert.embedding_length", config.hidden_size),
        gguf_writer.number("bert.feed_forward_length", config.intermediate_size),
        gguf_writer.number("bert.attention.head_count", config.num_attention_heads),
        gguf_writer.real("bert.attention.layer_norm_epsilon", config.layer_norm_eps),
        gguf_writer.flag("bert.attention.causal", value=False),
        gguf_writer.number("bert.pooling_type", _MEAN_POOLING),
    ]


def _vocabulary_entries(words: list[str], type_count: int) -> list[Entry]:
    if not 0 < len(words) <= _VOCABULARY_MAX:
        raise invalid(f"its vocabulary has {len(words)} words")
    place = {word: index for index, word in enumerate(words)}
    missing = [word for word in _SPECIAL if word not in place]
    if missing:
        raise invalid(f"its vocabulary has no {', '.join(missing)}")
    tokens, kinds = zip(*(_token(word) for word in words), strict=True)
    # `seperator` is how the format spells it.
    return [
        gguf_writer.string("tokenizer.ggml.model", "bert"),
        gguf_writer.strings("tokenizer.ggml.tokens", tokens),
        gguf_writer.numbers("tokenizer.ggml.token_type", kinds),
        gguf_writer.number("tokenizer.ggml.token_type_count", type_count),
        gguf_writer.number("tokenizer.ggml.bos_token_id", place["[CLS]"]),
        gguf_writer.number("tokenizer.ggml.eos_token_id", place["[SEP]"]),
        gguf_writer.number("tokenizer.ggml.unknown_token_id", place["[UNK]"]),
        gguf_writer.number("tokenizer.ggml.seperator_token_id", place["[SEP]"]),
        gguf_writer.number("tokenizer.ggml.padding_token_id", place["[PAD]"]),
        gguf_writer.number("tokenizer.ggml.mask_token_id", place["[MASK]"]),
        gguf_writer.flag("tokenizer.ggml.add_bos_token", value=True),
        gguf_writer.flag("tokenizer.ggml.add_eos_token", value=True),
    ]


def _token(word: str) -> tuple[str, int]:
    """Return a WordPiece entry as the engine wants it: word starts marked, not continuations."""
    if word in _SPECIAL:
        return word, _CONTROL
    if word.startswith("[unused") and word.endswith("]"):
        return word, _UNUSED
    if word.startswith("##"):
        return word[2:], _NORMAL
    return _WORD_START + word, _NORMAL
