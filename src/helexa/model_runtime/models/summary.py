"""What a GGUF header means for serving: `WeightsSummary` from `gguf.Header`. Pure."""

from typing import Final

from helexa.model_runtime.interfaces import WeightsSummary
from helexa.model_runtime.models.byte_source import ByteSource
from helexa.model_runtime.models.gguf import Header, Items, invalid, parse

_F16_BYTES: Final = 2.0
_LAYERS_MAX: Final = 10_000
_CONTEXT_MAX: Final = 1 << 30
_WIDTH_MAX: Final = 1 << 24
# llama.cpp takes the second for requests with tools, where a file has one.
_TEMPLATES: Final = ("tokenizer.chat_template", "tokenizer.chat_template.tool_use")


def summarize(source: ByteSource) -> WeightsSummary:
    """Read the header of a weights file and say what serving needs to know.

    Raises SourceError (HX-0501) when the file is damaged, cut, or one part of several.
    """
    header = parse(source)
    architecture = header.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise invalid("it names no architecture")
    parts = _integer(header, "split.count", 0, 1 << 16)
    if parts > 1:
        raise invalid(f"it is one of {parts} parts; merge them with llama-gguf-split --merge")
    if not header.tensors:
        raise invalid("it holds no tensors (a vocabulary only)")
    prefix = f"{architecture}."
    layers = _integer(header, prefix + "block_count", 0, _LAYERS_MAX)
    is_encoder = header.metadata.get(prefix + "attention.causal") is False
    return WeightsSummary(
        architecture=architecture,
        weights_bytes=sum(tensor.size_bytes for tensor in header.tensors),
        context_tokens_trained=_integer(header, prefix + "context_length", 0, _CONTEXT_MAX) or None,
        # An encoder reads its input at once and keeps nothing between tokens.
        kv_bytes_per_token_f16=0.0 if is_encoder else _kv_bytes(header, prefix, layers),
        embedding_dimensions=_integer(header, prefix + "embedding_length", 0, _WIDTH_MAX) or None,
        layers=layers,
        is_embedder=is_encoder or _integer(header, prefix + "pooling_type", 0, 1 << 16) > 0,
        chat_template="\n".join(_texts(header, *_TEMPLATES)),
        vocabulary_size=_vocabulary(header, prefix),
        parameters=sum(tensor.elements for tensor in header.tensors),
        feed_forward_width=_feed_forward_width(header, prefix, layers),
    )


def _texts(header: Header, *keys: str) -> list[str]:
    return [value for key in keys if isinstance(value := header.metadata.get(key), str)]


def _kv_bytes(header: Header, prefix: str, layers: int) -> float:
    """Return sum over layers of kv_heads * (key width + value width) * 2 bytes."""
    heads = _per_layer(header, prefix + "attention.head_count", layers)
    kv_heads = _per_layer(header, prefix + "attention.head_count_kv", layers) or heads
    if not heads or not kv_heads:
        return 0.0
    width = _integer(header, prefix + "embedding_length", 0, _WIDTH_MAX)
    head_width = width // max(*heads, 1)
    key = _integer(header, prefix + "attention.key_length", head_width, _WIDTH_MAX)
    value = _integer(header, prefix + "attention.value_length", head_width, _WIDTH_MAX)
    return sum(kv_heads) * (key + value) * _F16_BYTES


def _feed_forward_width(header: Header, prefix: str, layers: int) -> int:
    dense = max(_per_layer(header, prefix + "feed_forward_length", layers), default=0)
    expert = _integer(header, prefix + "expert_feed_forward_length", 0, _WIDTH_MAX)
    used = _integer(header, prefix + "expert_used_count", 0, 1 << 12)
    return max(dense, (expert or dense) * used)


def _per_layer(header: Header, key: str, layers: int) -> tuple[int, ...]:
    """Return one number per layer: the file holds one for all of them, or one each."""
    value = header.metadata.get(key)
    if isinstance(value, Items):
        if value.count != layers or len(value.values) != layers:
            raise invalid(f"{key} has {value.count} items for {layers} layers")
        return tuple(_whole(key, item, _WIDTH_MAX) for item in value.values)
    if value is None:
        return ()
    return (_whole(key, value, _WIDTH_MAX),) * layers


def _vocabulary(header: Header, prefix: str) -> int:
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    if isinstance(tokens, Items):
        return tokens.count
    return _integer(header, prefix + "vocab_size", 0, _WIDTH_MAX)


def _integer(header: Header, key: str, default: int, most: int) -> int:
    value = header.metadata.get(key)
    return default if value is None else _whole(key, value, most)


def _whole(key: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise invalid(f"{key} is {value!r}; it must be a whole number from 0 to {most}")
    return value
