"""A model that llama.cpp can really run, 300 kB, built by hand: random weights, one token a byte.

What it says is noise, but everything around it is real: loading, slots, streams, limits, errors.
Some vocabulary is printable text so that answers have characters of several bytes.
"""

import random
import struct
from pathlib import Path

from helexa.model_runtime.models import gguf_writer as gguf

WIDTH, INNER, LAYERS, HEADS = 32, 64, 2, 2
WORDS = [" the", " sun", "é", "🙂", " and", "\n", " 1", "10", "ha", " cat"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_runnable_model(path: Path, context_tokens: int = 4096) -> Path:
    """Write the model's GGUF file; the same bytes every time."""
    words = [word.replace(" ", "▁") for word in WORDS]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(words)]
    scores = [0.0] * len(tokens)
    entries = [
        gguf.string("general.architecture", "llama"),
        gguf.string("general.name", "runnable"),
        gguf.number("llama.block_count", LAYERS),
        gguf.number("llama.context_length", context_tokens),
        gguf.number("llama.embedding_length", WIDTH),
        gguf.number("llama.feed_forward_length", INNER),
        gguf.number("llama.attention.head_count", HEADS),
        gguf.number("llama.attention.head_count_kv", HEADS),
        gguf.number("llama.rope.dimension_count", WIDTH // HEADS),
        gguf.real("llama.attention.layer_norm_rms_epsilon", 1e-5),
        gguf.string("tokenizer.ggml.model", "llama"),
        gguf.strings("tokenizer.ggml.tokens", tokens),
        _floats("tokenizer.ggml.scores", scores),
        gguf.numbers("tokenizer.ggml.token_type", kinds),
        gguf.number("tokenizer.ggml.unknown_token_id", 0),
        gguf.number("tokenizer.ggml.bos_token_id", 1),
        gguf.number("tokenizer.ggml.eos_token_id", 2),
        gguf.string("tokenizer.chat_template", TEMPLATE),
    ]
    chance = random.Random("helexa-runnable")
    tensors = [_matrix(chance, "token_embd", WIDTH, len(tokens))]
    for layer in range(LAYERS):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors.append(_matrix(chance, f"blk.{layer}.{part}", WIDTH, WIDTH))
        tensors += [
            _matrix(chance, f"blk.{layer}.ffn_gate", WIDTH, INNER),
            _matrix(chance, f"blk.{layer}.ffn_up", WIDTH, INNER),
            _matrix(chance, f"blk.{layer}.ffn_down", INNER, WIDTH),
            _ones(f"blk.{layer}.attn_norm"),
            _ones(f"blk.{layer}.ffn_norm"),
        ]
    tensors += [_ones("output_norm"), _matrix(chance, "output", WIDTH, len(tokens))]
    with path.open("wb") as file:
        gguf.write(entries, tensors, file.write)
    return path


def _floats(key: str, values: list[float]) -> gguf.Entry:
    array, float32 = 9, 6
    head = struct.pack("<IQ", float32, len(values))
    return gguf.Entry(key, array, head + struct.pack(f"<{len(values)}f", *values))


def _matrix(chance: random.Random, name: str, *shape: int) -> gguf.PlannedTensor:
    count = shape[0] * shape[1]
    data = struct.pack(f"<{count}f", *(chance.gauss(0, 0.2) for _ in range(count)))
    return gguf.PlannedTensor(f"{name}.weight", shape, gguf.F32, len(data), lambda: [data])


def _ones(name: str) -> gguf.PlannedTensor:
    data = struct.pack(f"<{WIDTH}f", *[1.0] * WIDTH)
    return gguf.PlannedTensor(f"{name}.weight", (WIDTH,), gguf.F32, len(data), lambda: [data])
