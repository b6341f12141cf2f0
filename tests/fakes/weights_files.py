"""Small files of the formats that weights come in, built by hand."""

import io
import json
import struct
import zipfile
from collections.abc import Sequence

from helexa.model_runtime.models import gguf_writer
from helexa.model_runtime.models.gguf_writer import Entry, PlannedTensor

TINY_HEADS = 4
TINY_WIDTH = 8


def tensor(name: str, *shape: int, kind: int = gguf_writer.F32) -> PlannedTensor:
    size = 4 if kind == gguf_writer.F32 else 2
    for side in shape:
        size *= side
    return PlannedTensor(name, shape, kind, size, lambda: [bytes(size)])


def gguf(entries: Sequence[Entry], tensors: Sequence[PlannedTensor]) -> bytes:
    file = io.BytesIO()
    gguf_writer.write(entries, tensors, file.write)
    return file.getvalue()


def llama_entries(**changed: Entry) -> list[Entry]:
    """The metadata of a two-layer model: 4 heads, 2 of them for keys and values, width 8."""
    entries = {
        "architecture": gguf_writer.string("general.architecture", "llama"),
        "layers": gguf_writer.number("llama.block_count", 2),
        "context": gguf_writer.number("llama.context_length", 64),
        "width": gguf_writer.number("llama.embedding_length", TINY_WIDTH),
        "inner": gguf_writer.number("llama.feed_forward_length", 16),
        "heads": gguf_writer.number("llama.attention.head_count", TINY_HEADS),
        "kv_heads": gguf_writer.number("llama.attention.head_count_kv", 2),
        "tokens": gguf_writer.strings("tokenizer.ggml.tokens", ["<s>", "a", "b"]),
        "template": gguf_writer.string("tokenizer.chat_template", "{{ messages }}"),
    }
    return list((entries | changed).values())


def tiny_llama(marker: str = "") -> bytes:
    """A whole GGUF file of a few hundred bytes; `marker` makes its content differ."""
    entries = llama_entries(name=gguf_writer.string("general.name", f"tiny{marker}"))
    return gguf(entries, [tensor("token_embd.weight", 8, 3), tensor("output.weight", 8, 3, kind=1)])


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A safetensors file from name to (dtype, shape, bytes)."""
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape, data) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    head = json.dumps(table).encode()
    return struct.pack("<Q", len(head)) + head + b"".join(data for _, _, data in tensors.values())


BERT_WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s"]
BERT_CONFIG = {
    "model_type": "bert", "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 4,
    "intermediate_size": 8, "max_position_embeddings": 16, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}  # fmt: skip


def bert_tensors(dtype: str = "F32") -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of a one-layer BERT of width 4; the values count up in quarters."""
    shapes: dict[str, list[int]] = {
        "embeddings.word_embeddings.weight": [len(BERT_WORDS), 4],
        "embeddings.position_embeddings.weight": [16, 4],
        "embeddings.token_type_embeddings.weight": [2, 4],
        "embeddings.LayerNorm.weight": [4],
        "embeddings.LayerNorm.bias": [4],
    }
    for part, sides in (
        ("attention.self.query", [4, 4]), ("attention.self.key", [4, 4]),
        ("attention.self.value", [4, 4]), ("attention.output.dense", [4, 4]),
        ("intermediate.dense", [8, 4]), ("output.dense", [4, 8]),
        ("attention.output.LayerNorm", [4]), ("output.LayerNorm", [4]),
    ):  # fmt: skip
        shapes[f"encoder.layer.0.{part}.weight"] = sides
        shapes[f"encoder.layer.0.{part}.bias"] = sides[:1]
    code = {"F32": "f", "F16": "e"}[dtype]
    tensors = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [index / 4 for index in range(count)]
        tensors[name] = (dtype, shape, struct.pack(f"<{count}{code}", *values))
    return tensors


def bert_vocabulary() -> bytes:
    return "\n".join(BERT_WORDS).encode() + b"\n"


def bert_config() -> bytes:
    return json.dumps(BERT_CONFIG).encode()


def wheel(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A wheel holding these files."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()
