"""A folder of weights that vLLM can really serve, 300 kB, built by hand: random weights, one token
a byte. What it says is noise; loading, streams, limits and errors are real."""

import json
import random
import struct
from pathlib import Path

from tests.fakes.weights_files import safetensors

WIDTH, INNER, LAYERS, HEADS, CONTEXT_TOKENS = 64, 128, 1, 2, 256
_TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def write_runnable_folder(folder: Path) -> Path:
    """Write weights, configuration and tokenizer; the same bytes every time."""
    folder.mkdir()
    vocabulary = {sign: number for number, sign in enumerate(_byte_signs())}
    specials = [_special(256, "<s>"), _special(257, "</s>")]
    vocabulary |= {"<s>": 256, "</s>": 257}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH,
        "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS, "head_dim": WIDTH // HEADS, "hidden_act": "silu",
        "max_position_embeddings": CONTEXT_TOKENS, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0,
        "vocab_size": len(vocabulary), "bos_token_id": 256, "eos_token_id": 257,
        "tie_word_embeddings": False, "torch_dtype": "float32",
    }  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": False}  # fmt: skip
    tokenizer = {
        "version": "1.0", "added_tokens": specials, "normalizer": None, "post_processor": None,
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }  # fmt: skip
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "model_max_length": CONTEXT_TOKENS, "chat_template": _TEMPLATE,
    }  # fmt: skip
    files = {"config": config, "tokenizer": tokenizer, "tokenizer_config": about}
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(safetensors(_tensors(len(vocabulary))))
    return folder


def _tensors(vocabulary_size: int) -> dict[str, tuple[str, list[int], bytes]]:
    chance = random.Random("helexa-runnable-folder")
    shapes = {
        "model.embed_tokens.weight": [vocabulary_size, WIDTH],
        "lm_head.weight": [vocabulary_size, WIDTH],
        "model.norm.weight": [WIDTH],
    }
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        shapes |= {f"{at}.self_attn.{part}_proj.weight": [WIDTH, WIDTH] for part in "qkvo"}
        shapes |= {f"{at}.mlp.{part}_proj.weight": [INNER, WIDTH] for part in ("gate", "up")}
        shapes[f"{at}.mlp.down_proj.weight"] = [WIDTH, INNER]
        shapes[f"{at}.input_layernorm.weight"] = [WIDTH]
        shapes[f"{at}.post_attention_layernorm.weight"] = [WIDTH]
    found = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        norm = len(shape) == 1
        values = [1.0 if norm else chance.gauss(0, 0.2) for _ in range(count)]
        found[name] = ("F32", shape, struct.pack(f"<{count}f", *values))
    return found


def _special(number: int, text: str) -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, "special": True, **flags}


def _byte_signs() -> list[str]:
    """Return how byte-level tokenizers write each byte: as itself where it can be seen."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in seen else chr(next(others)) for byte in range(256)]
