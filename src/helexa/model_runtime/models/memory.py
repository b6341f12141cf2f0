"""How much memory an engine of the llama.cpp family needs for a model. Pure.

    weights   the tensors' bytes
    kv        context * bytes per token, scaled by the cache types
    compute   rows of one physical batch through the widest layer, and the attention mask
    outputs   an encoder's result rows (the engine makes room for one row of the vocabulary each)
    base      the process itself and its tokenizer

The result is what is resident when a full batch has run, not just after the start. Against the
packaged server it is within 10 % (largest seen 6 %: contexts 512 to 8192, batches 128 to 1024,
16- and 8-bit caches, widths 384 to 2048, vocabularies 2 000 to 150 000). Models with sliding
windows or compressed attention need less than this says; a recurrent state is not counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from helexa.model_runtime.interfaces import WeightsSummary

CACHE_TYPE_BYTES: Final[Mapping[str, float]] = {
    "f32": 4.0,
    "f16": 2.0,
    "bf16": 2.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes per element of a KV cache, by the engine's name for its type."""

BASE_BYTES: Final = 33_000_000
"""Interpreter, libraries and server of the packaged engine, measured with a tiny model."""
VOCABULARY_ENTRY_BYTES: Final = 450
"""Measured: 183 (WordPiece) to 526 (with merges) per entry."""
_F16_BYTES: Final = 2.0
_F32_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes by what they are for."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    output_bytes: int
    base_bytes: int
    prompt_cache_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it: what must be free before a start."""
        return (
            self.weights_bytes
            + self.kv_bytes
            + self.compute_bytes
            + self.output_bytes
            + self.base_bytes
            + self.prompt_cache_bytes
        )


@dataclass(frozen=True, slots=True)
class EngineMemory:
    """The engine's settings that decide about memory; tokens are of all seats together."""

    context_tokens: int
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    batch_tokens: int = 512
    """The physical batch (`ubatch`)."""
    prompt_cache_bytes: int = 0
    """How far the engine's cache of old prompts may grow beside it."""


def estimate(weights: WeightsSummary, engine: EngineMemory) -> MemoryEstimate:
    """Return the memory that serving these weights with these settings takes.

    Raises KeyError for a cache type that is not in CACHE_TYPE_BYTES.
    """
    width = weights.embedding_dimensions or 0
    inner = weights.feed_forward_width or 4 * width
    rows = min(engine.batch_tokens, engine.context_tokens)
    if weights.is_embedder and not weights.kv_bytes_per_token_f16:
        # Fitted: 9.7 floats per dimension when the inner width is four times the outer one.
        compute = rows * (2 * inner + 2 * width) * _F32_BYTES
        outputs = rows * (weights.vocabulary_size + width) * _F32_BYTES
    else:
        mask = engine.context_tokens * rows * 2
        compute = rows * (3 * inner + 5 * width) * _F32_BYTES + mask
        outputs = weights.vocabulary_size * _F32_BYTES
    scale = CACHE_TYPE_BYTES[engine.cache_type_k] + CACHE_TYPE_BYTES[engine.cache_type_v]
    per_token = weights.kv_bytes_per_token_f16 * scale / (2 * _F16_BYTES)
    return MemoryEstimate(
        weights_bytes=weights.weights_bytes,
        kv_bytes=round(per_token * engine.context_tokens),
        compute_bytes=compute,
        output_bytes=outputs,
        base_bytes=BASE_BYTES + weights.vocabulary_size * VOCABULARY_ENTRY_BYTES,
        prompt_cache_bytes=engine.prompt_cache_bytes,
    )
