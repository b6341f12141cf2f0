"""The engines that a neuron knows, by the name that a config uses. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from helexa.model_runtime.engines.echo import Echo
from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.engines.openai import OpenAi
from helexa.model_runtime.engines.vllm import Vllm
from helexa.model_runtime.interfaces import EngineDescription

_ALL: Final[tuple[EngineDescription, ...]] = (LlamaCpp(), Vllm(), OpenAi(), Echo())
ENGINES: Final[Mapping[str, EngineDescription]] = MappingProxyType(
    {engine.name: engine for engine in _ALL}
)
