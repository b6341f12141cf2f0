import dataclasses

import pytest

from helexa.model_runtime.engines.llamacpp_options import Settings, arguments
from tests.fakes.launches import EMBEDDER, WEIGHTS, config, launch


def settings(weights=WEIGHTS, **options):
    return Settings(config(options=options), weights)


def argv(*, weights=WEIGHTS, options=None, **changes):
    model = config(options=options or {})
    given = launch(model, weights=weights, **changes)
    return arguments(given, Settings(model, weights))


def test_golden_arguments_of_the_packaged_server():
    assert " ".join(argv()) == (
        "--model /models/smol.gguf --alias smol --host 127.0.0.1 --port 18000 --parallel 4 "
        "--no-kv-unified --ctx-size 16384 --slot-prompt-similarity 0.8 --batch-size 512 "
        "--ubatch-size 512 --threads 2 --threads-http 12 --cache-ram 256 "
        "--cache-type-k f16 --cache-type-v f16 --flash-attn auto --gpu-layers 0 --metrics "
        "--no-webui --offline --jinja --api-key-file /run/key"
    )


def test_golden_arguments_of_a_llama_server_on_a_gpu():
    options = {
        "context_tokens": 2048, "parallel": 2, "threads": 6, "batch": 256, "micro_batch": 128,
        "cache_type_k": "q8_0", "cache_type_v": "q8_0", "flash_attention": "on",
        "embeddings": True, "chat_template": "llama3", "cache_ram_mib": 0, "seed": 7,
    }  # fmt: skip
    assert " ".join(argv(options=options, gpu=True, api_key="")) == (
        "--model /models/smol.gguf --alias smol --host 127.0.0.1 --port 18000 --parallel 2 "
        "--no-kv-unified --ctx-size 4096 --slot-prompt-similarity 0.8 --batch-size 256 "
        "--ubatch-size 128 --threads 6 --threads-http 8 --cache-ram 0 "
        "--cache-type-k q8_0 --cache-type-v q8_0 --flash-attn on --gpu-layers 999 --metrics "
        "--no-webui --offline --no-jinja --embeddings --pooling mean "
        "--chat-template llama3 --seed 7"
    )


def test_golden_arguments_of_an_embedding_model():
    line = " ".join(argv(weights=EMBEDDER))
    assert "--ctx-size 2048" in line
    assert "--batch-size 512 --ubatch-size 512" in line
    assert line.endswith("--jinja --embeddings --api-key-file /run/key")
    assert "--pooling" not in line


def test_the_context_is_never_longer_than_trained_unless_asked():
    assert settings().context_tokens == 4096
    small = dataclasses.replace(WEIGHTS, context_tokens_trained=1024)
    assert settings(small).context_tokens == 1024
    assert settings(small, context_tokens=2048).context_tokens == 2048
    assert settings(None).context_tokens == 4096


def test_an_embedding_input_fits_one_micro_batch():
    assert settings(EMBEDDER, context_tokens=384).micro_batch == 384
    assert settings(EMBEDDER).batch == 512
    assert settings(batch=256).micro_batch == 256
    assert settings(micro_batch=1024).batch == 1024


def test_gpu_layers_are_the_operators_or_all_or_none():
    assert "--gpu-layers 3" in " ".join(argv(options={"gpu_layers": 3}, gpu=True))


@pytest.mark.parametrize(
    ("context", "seats", "measured"), [(2048, 2, 261_164 << 10), (4096, 4, 538_860 << 10)]
)
def test_the_memory_estimate_is_within_ten_percent_of_what_was_measured(context, seats, measured):
    estimate = settings(context_tokens=context, parallel=seats).memory_bytes(WEIGHTS)
    assert abs(estimate / measured - 1) < 0.10


def test_a_quantised_cache_needs_less_memory():
    plain = settings().memory_bytes(WEIGHTS)
    assert settings(cache_type_k="q8_0", cache_type_v="q8_0").memory_bytes(WEIGHTS) < plain
