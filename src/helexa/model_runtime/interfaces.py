"""The interfaces of a runtime and of an engine description. Pure.

Two ways to use a model meet here:

- the *object* way (`ChatInference` and its kin): values in, values out; for the readiness canary,
  for in-process use and for tests;
- the *byte* way (`EngineDescription.call` and its `Translation`): a request body goes to an
  engine and its answer comes back as clean OpenAI bytes. This is the way of every real request.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Final, Protocol

import msgspec

from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import (
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    Continued,
    EmbeddingRequest,
    EmbeddingResponse,
    ResponseHead,
    Usage,
)
from helexa.protocol.model import ModelCapability, ModelConfig, OptionValue
from helexa.protocol.workload import Operation

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

# ── the object way ────────────────────────────────────────────────────────────────────────────


class InferenceError(Exception):
    """A runtime could not answer: `code` says whose fault it is, `retryable` whether to retry."""

    def __init__(self, code: ErrorCode, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class ChatInference(Protocol):
    """Answers conversations.

    Cancelling the awaiting task (or closing the iterator) stops the work in the engine. Errors are
    `InferenceError`; nothing is retried in here.
    """

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer."""
        ...

    def chat_stream(self, request: ChatRequest) -> AsyncIterator[str]:
        """Yield the answer's text in pieces, each of whole characters."""
        ...


class TextInference(Protocol):
    """Continues plain text; errors and cancellation as in `ChatInference`."""

    async def complete(self, request: CompletionRequest) -> ChatResponse:
        """Return the continuation, without the prompt."""
        ...


class EmbeddingInference(Protocol):
    """Turns texts into vectors; errors and cancellation as in `ChatInference`."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Return one vector per input, in input order."""
        ...


class VisionInference(Protocol):
    """Describes images; errors and cancellation as in `ChatInference`."""

    async def caption(self, image: bytes, media_type: str, prompt: str) -> ChatResponse:
        """Return a text about the image (`media_type` such as image/png)."""
        ...


# ── the byte way: an engine, described ────────────────────────────────────────────────────────


class OptionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One typed option of an engine. There are no free-text options.

    `kind` is "int", "float", "bool" or "str"; a "str" has `choices` or a `pattern` (full match),
    and its value never starts with "-".
    """

    name: str
    kind: str
    text: str
    default: OptionValue | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class WeightsSummary:
    """What the header of a weights file says; every size in bytes or tokens."""

    architecture: str
    weights_bytes: int
    context_tokens_trained: int | None
    kv_bytes_per_token_f16: float
    embedding_dimensions: int | None
    layers: int
    is_embedder: bool
    """The model produces vectors, not text (an encoder such as BERT, or a pooling type is set)."""
    chat_template: str = ""
    """All that the file has, one after the other."""
    vocabulary_size: int = 0
    parameters: int = 0
    feed_forward_width: int = 0
    """Widest inner row of a layer, in elements (of all experts that work on one token)."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What the neuron gives an engine description to start a process with."""

    config: ModelConfig
    weights_path: str | None
    """Real path inside the neuron's model folders, or None for an engine without weights."""
    weights: WeightsSummary | None
    port: int
    """A free loopback port."""
    api_key: str
    """Fresh random key for this process; empty where the engine knows none."""
    key_file: str
    """Path of a private file (0600) that holds `api_key`, for engines that read keys from files."""
    threads: int
    binaries: Mapping[str, str]
    """Absolute paths that the neuron's own config, its check of PATH or
    `model_runtime.packaged.packaged_servers()` allows, by name."""
    python: str
    """The interpreter that runs packaged engines (`python -I PATH …`: isolated from its user)."""
    gpu: bool = False
    cpu_features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """How to start an engine: argv (no shell), environment (from empty), and where it listens."""

    argv: tuple[str, ...]
    endpoint: str
    """Base URL without a trailing slash, `http://127.0.0.1:PORT`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request to the engine (its API key)."""


@dataclass(frozen=True, slots=True)
class AttachPlan:
    """How to reach a server that already runs (`spawns` is False).

    A secret never travels in a config: the config names a file, the neuron reads it and sends its
    stripped text, after `key_prefix`, as the header `key_header` with every request. The
    neuron must refuse a file outside the folder that its own config sets aside for secrets, since
    a cortex is not trusted to choose what leaves the machine.
    """

    endpoint: str
    """Base URL without a trailing slash."""
    key_file: str | None = None
    key_header: str = "authorization"
    key_prefix: str = "Bearer "


class InboundCall(msgspec.Struct, frozen=True):
    """A request as it reached the neuron."""

    operation: Operation
    body: bytes
    stream: bool
    include_usage: bool
    request_id: str
    config: ModelConfig
    capability: ModelCapability
    continues: Continued | None = None
    """The answer is the next part of a stream that another neuron began; only ever of a stream of
    one choice, for engines whose capability says `resume`."""
    tenant: str = ""
    """Who must learn nothing of other tenants' prompts by what the engine has read for them; empty
    where all share them."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An engine's answer that cannot be passed on, and whether the engine is to blame for it.

    Before any byte was passed on, the caller gets a clean status; after it, a cut stream.
    """

    code: ErrorCode
    message: str
    blames_engine: bool = True
    detail: str = ""
    """What the engine itself said, where callers are not told: for the neuron's log alone."""


class Ending(msgspec.Struct, frozen=True):
    """How a translated answer ended: last bytes to pass on, and what was counted."""

    data: bytes
    usage: Usage | None
    finish_reason: str = ""
    failure: Failure | None = None


class Translation(Protocol):
    """Turns one engine answer into clean OpenAI bytes. Pure; one object per request.

    The neuron calls `on_head` once, `on_data` for each read, `on_end` once. `head` stays None
    until the status for the caller is known; bytes are passed on only after it. `failure` is set
    when the answer must be given up at once.
    """

    head: ResponseHead | None
    failure: Failure | None
    produced: bool
    """The caller got its first token (not a comment, not a role)."""

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Take the engine's status and headers (names in lower case)."""
        ...

    def on_data(self, data: bytes) -> bytes:
        """Take bytes of the engine's body; return what goes to the caller now, b"" for nothing."""
        ...

    def on_end(self, *, complete: bool) -> Ending:
        """The engine's body ended: `complete` by its own framing, or cut by a lost connection."""
        ...


class OutboundCall(msgspec.Struct, frozen=True):
    """The request to an engine and the translation of its answer.

    A body is sent as `application/json` (vLLM answers 400 without it) unless `headers` say else.
    """

    path: str
    body: bytes
    translation: Translation
    headers: Mapping[str, str] = _NO_HEADERS
    method: str = "POST"


class KnownAnswer(msgspec.Struct, frozen=True):
    """An answer that a description gives by itself, because its engine has no way to."""

    body: bytes
    """One JSON object."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How to tell that an engine serves: a health path, then one real request.

    Health alone is not enough: an engine can answer 200 there and die on its first request.
    """

    health_path: str | None
    """None for a server of which only inference routes are known."""
    health_statuses: frozenset[int] = frozenset({200})
    canary_path: str | None = None
    canary_body: bytes = b""


@dataclass(frozen=True, slots=True)
class Instruments:
    """Where an engine's server tells about itself. `engines.readings` knows what it says there."""

    metrics_path: str
    """In the Prometheus text format."""
    version_path: str
    version_field: str
    """The version is this field of the JSON object at `version_path`."""


class EngineDescription(Protocol):
    """One engine: its options, how it is started, and how it is spoken to. Pure, no state."""

    name: ClassVar[str]
    spawns: ClassVar[bool]
    """False: attaches to `listen_endpoint` and starts nothing."""
    options: ClassVar[tuple[OptionSpec, ...]]
    binaries: ClassVar[tuple[str, ...]]
    """Names of executables that it may use, best first."""
    instruments: ClassVar[Instruments | None]
    """None for a server that tells nothing, or of which that is not known."""

    def problems(self, config: ModelConfig) -> list[str]:
        """Say all that is wrong with a config for this engine; an empty list when nothing is."""
        ...

    def launch(self, launch: Launch) -> LaunchPlan:
        """Return argv, environment and endpoint; raises ValueError with a reason if impossible."""
        ...

    def attach(self, config: ModelConfig) -> AttachPlan:
        """Return how to reach a running server; raises ValueError for an engine that spawns."""
        ...

    def capability(self, config: ModelConfig, weights: WeightsSummary | None) -> ModelCapability:
        """Return what the model will be able to do and the memory it will need."""
        ...

    def probe(self, config: ModelConfig, capability: ModelCapability) -> Probe:
        """Return how to tell that the engine is ready."""
        ...

    def call(self, inbound: InboundCall) -> OutboundCall | KnownAnswer | Failure:
        """Return the engine's request, or a failure that is the caller's (never the engine's).

        An inbound `COUNT_TOKENS` has a chat's body; its answer is `{"input_tokens": N}`, with
        `"estimated": true` beside it where nobody counted.
        """
        ...
