"""What engines tell of themselves, from pages that they have told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.engines.readings import ENGINE_SERIES, read_metrics

PAGES = Path(__file__).parent.parent.parent / "replays" / "engines"


def short(page: bytes) -> dict[str, float]:
    return {
        name.removeprefix("helexa_engine_"): value for name, value in read_metrics(page).items()
    }


def test_a_page_of_llama_cpp_is_read() -> None:
    """As the packaged server told it after two requests. It computes no token twice."""
    assert short((PAGES / "llamacpp.txt").read_bytes()) == {
        "requests_running": 0,
        "requests_waiting": 0,
        "prompt_tokens_total": 34 + 32,
        "prompt_tokens_cached_total": 32,
        "generation_tokens_total": 16,
    }


def test_a_page_of_vllm_is_read_its_workers_together() -> None:
    assert short((PAGES / "vllm.txt").read_bytes()) == {
        "requests_running": 5,
        "requests_waiting": 1,
        "kv_cache_usage_ratio": 0.5,
        "prompt_tokens_total": 1200,
        "prompt_tokens_cached_total": 640,
        "generation_tokens_total": 300,
        "prefix_cache_queries_total": 1000,
        "prefix_cache_hits_total": 640,
        "preemptions_total": 4,
    }


@pytest.mark.parametrize(
    ("page", "found"),
    [
        (b"vllm:gpu_cache_usage_perc 0.5", {"kv_cache_usage_ratio": 0.5}),
        (b"llamacpp:kv_cache_usage_ratio 0.25", {"kv_cache_usage_ratio": 0.25}),
        (b"vllm:gpu_prefix_cache_hits_total 7", {"prefix_cache_hits_total": 7}),
        (b"vllm:kv_cache_usage_perc 0.1\nvllm:gpu_cache_usage_perc 0.9",
         {"kv_cache_usage_ratio": 0.1}),
        (b"llamacpp:prompt_tokens_total 5", {"prompt_tokens_total": 5}),
        (b"llamacpp:tokens_predicted 5", {"generation_tokens_total": 5}),
    ],
)  # fmt: skip
def test_names_of_other_versions_are_known_and_the_newest_counts(
    page: bytes, found: dict[str, float]
) -> None:
    assert short(page) == found


@pytest.mark.parametrize(
    "line",
    [
        b"llamacpp:requests_processing",
        b"llamacpp:requests_processing many",
        b"llamacpp:requests_processing NaN",
        b"llamacpp:requests_processing +Inf",
        b"llamacpp:requests_processing -1",
        b'llamacpp:requests_processing{a="b"',
        b'llamacpp:requests_processing{a="b"}',
        b"# llamacpp:requests_processing 3",
        b"llamacpp:requests_processing_more 3",
        b"other:requests_processing 3",
        b"<html>llamacpp:requests_processing 3</html>",
        b"",
    ],
)
def test_what_cannot_be_read_is_passed_over(line: bytes) -> None:
    assert short(line + b"\nllamacpp:requests_deferred 2") == {"requests_waiting": 2}


def test_labels_may_hold_anything_and_a_timestamp_may_follow() -> None:
    page = rb'vllm:num_requests_running{model_name="a} 9 {\" 8"} 4 1764000000000'
    assert short(page) == {"requests_running": 4}


@given(st.binary(max_size=400))
def test_no_page_is_an_error(noise: bytes) -> None:
    for page in (
        noise,
        b"vllm:num_requests_running" + noise,
        b"vllm:num_requests_running{" + noise,
    ):
        assert all(value >= 0 for value in read_metrics(page).values())


def test_every_series_is_a_counter_a_ratio_or_a_number_of_requests() -> None:
    names = [series.name for series in ENGINE_SERIES]
    assert len(set(names)) == len(names)
    for series in ENGINE_SERIES:
        assert series.is_counter or series.is_ratio or "_requests_" in series.name
