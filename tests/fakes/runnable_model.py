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
TOOL_TEMPLATE = (
    "{%- if tools %}{{- '<|im_start|>system\n# Tools\n\n<tools>' }}"
    "{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}"
    "{{- '\n</tools>\n\nAnswer with calls:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}'
    "\n</tool_call><|im_end|>\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant' }}"
    "{%- if message.content %}{{- '\n' + message.content }}{%- endif %}"
    "{%- for tool_call in message.tool_calls %}"
    "{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}"
    '{{- \'\n<tool_call>\n{"name": "\' }}{{- tool_call.name }}{{- \'", "arguments": \' }}'
    "{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}"
    "{{- '<|im_end|>\n' }}"
    "{%- elif message.role == 'tool' %}{{- '<|im_start|>user\n<tool_response>\n' }}"
    "{{- message.content }}{{- '\n</tool_response><|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
"""The way of Hermes and Qwen, which llama.cpp knows to read calls from."""
FAVOUR = 6.0
"""In one direction that all embeddings share, so that it outweighs the noise of the others."""
_END = 2
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6


def write_tool_calling_model(path: Path) -> Path:
    """Write a model that begins a tool call wherever it may; the grammar makes it a whole one."""
    return write_runnable_model(path, template=TOOL_TEMPLATE, favourite="<tool_call>\n")


def write_runnable_model(
    path: Path, context_tokens: int = 4096, template: str = TEMPLATE, favourite: str = ""
) -> Path:
    """Write the model's GGUF file; the same bytes every time. If it has a favourite, it
    says that where it may, and nothing more where it may be silent."""
    words = [word.replace(" ", "▁") for word in WORDS] + [favourite] * bool(favourite)
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
        gguf.number("tokenizer.ggml.eos_token_id", _END),
        gguf.string("tokenizer.chat_template", template),
        # Where a grammar takes the prompt's last words for its first, they must be the same.
        gguf.flag("tokenizer.ggml.add_space_prefix", value=template is TEMPLATE),
    ]
    chance = random.Random("helexa-runnable")
    first = [[FAVOUR] * len(tokens)] if favourite else []
    tensors = [_matrix(chance, "token_embd", WIDTH, len(tokens), *first)]
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
    column = [0.0] * len(tokens)
    column[_END], column[-1] = 2 * FAVOUR, FAVOUR
    last = [column] if favourite else []
    tensors += [_ones("output_norm"), _matrix(chance, "output", WIDTH, len(tokens), *last)]
    with path.open("wb") as file:
        gguf.write(entries, tensors, file.write)
    return path


def _floats(key: str, values: list[float]) -> gguf.Entry:
    array, float32 = 9, 6
    head = struct.pack("<IQ", float32, len(values))
    return gguf.Entry(key, array, head + struct.pack(f"<{len(values)}f", *values))


def _matrix(
    chance: random.Random, name: str, width: int, rows: int, column: list[float] | None = None
) -> gguf.PlannedTensor:
    """Return a matrix of noise, with `column` for the first number of each row."""
    count = width * rows
    values = [chance.gauss(0, 0.2) for _ in range(count)]
    if column is not None:
        values[::width] = column
    data = struct.pack(f"<{count}f", *values)
    return gguf.PlannedTensor(f"{name}.weight", (width, rows), gguf.F32, len(data), lambda: [data])


def _ones(name: str) -> gguf.PlannedTensor:
    data = struct.pack(f"<{WIDTH}f", *[1.0] * WIDTH)
    return gguf.PlannedTensor(f"{name}.weight", (WIDTH,), gguf.F32, len(data), lambda: [data])
