"""What engines tell of themselves, brought to names of our own. Pure.

Engines rename their series from version to version, so each of ours has a list of names under
which it may be found, newest first; one that is not told at all is left out. What a caller sees
does not come from here: tokens and times of requests are counted by the neuron itself.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_TOTAL: Final = b"_total"


@dataclass(frozen=True, slots=True)
class EngineSeries:
    """One of our series: `sources` are the engines' names for it, counters without `_total`.

    A source may be the sum of several names, joined by "+"; those after the first may be missing.
    """

    name: str
    text: str
    sources: tuple[str, ...]

    @property
    def is_counter(self) -> bool:
        """It only rises, until the engine starts anew."""
        return self.name.endswith("_total")

    @property
    def is_ratio(self) -> bool:
        """Several workers of one engine are told by the fullest, and not by their sum."""
        return self.name.endswith("_ratio")


ENGINE_SERIES: Final = (
    EngineSeries(
        "helexa_engine_requests_running",
        "Requests that the engine works on",
        ("vllm:num_requests_running", "llamacpp:requests_processing"),
    ),
    EngineSeries(
        "helexa_engine_requests_waiting",
        "Requests that wait inside the engine",
        ("vllm:num_requests_waiting", "llamacpp:requests_deferred"),
    ),
    EngineSeries(
        "helexa_engine_kv_cache_usage_ratio",
        "Share of the key-value cache that is in use",
        (
            *("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
            "llamacpp:kv_cache_usage_ratio",
        ),
    ),
    EngineSeries(
        "helexa_engine_prompt_tokens_total",
        "Prompt tokens that the engine has taken, cached ones among them",
        # llama.cpp counts as prompt tokens only what it has computed.
        ("vllm:prompt_tokens", "llamacpp:prompt_tokens+llamacpp:prompt_tokens_cached"),
    ),
    EngineSeries(
        "helexa_engine_generation_tokens_total",
        "Tokens that the engine has made",
        ("vllm:generation_tokens", "llamacpp:tokens_predicted"),
    ),
    EngineSeries(
        "helexa_engine_prompt_tokens_cached_total",
        "Prompt tokens that were in the cache already",
        ("vllm:prompt_tokens_cached", "llamacpp:prompt_tokens_cached"),
    ),
    EngineSeries(
        "helexa_engine_prefix_cache_queries_total",
        "Tokens that were looked up in the prefix cache",
        ("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
    ),
    EngineSeries(
        "helexa_engine_prefix_cache_hits_total",
        "Tokens that were found in the prefix cache",
        ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
    ),
    EngineSeries(
        "helexa_engine_preemptions_total",
        "Requests that the engine has put back to make room for others",
        ("vllm:num_preemptions",),
    ),
)
_WANTED: Final = frozenset(
    name.encode() for series in ENGINE_SERIES for s in series.sources for name in s.split("+")
)


def read_metrics(page: bytes) -> Mapping[str, float]:
    """Return our series, by name, from a page in the Prometheus text format.

    Lines that cannot be read are passed over, and so is a value that is not a finite number.
    """
    found: dict[bytes, list[float]] = {}
    for line in page.split(b"\n"):
        # "name{labels} value timestamp": the name ends at the brace or, without labels, a space.
        name = line.partition(b"{")[0].partition(b" ")[0].removesuffix(_TOTAL)
        if name in _WANTED:
            value = _value(line)
            if value is not None:
                found.setdefault(name, []).append(value)
    readings = {}
    for series in ENGINE_SERIES:
        for source in series.sources:
            first, *further = (found.get(name.encode()) for name in source.split("+"))
            if first is not None:
                values = [*first, *(value for more in further for value in more or ())]
                readings[series.name] = max(values) if series.is_ratio else sum(values)
                break
    return MappingProxyType(readings)


def _value(line: bytes) -> float | None:
    # A label's text may hold anything, a brace too; behind the last one there are only numbers.
    fields = line.rpartition(b"}")[2].split() if b"}" in line else line.split()[1:]
    try:
        value = float(fields[0])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) and value >= 0 else None
