"""The settings of a neuron. It trusts no cortex: what may run here is said here."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator

from helexa.config.shared import (
    ByteCount,
    FilePath,
    PositiveSeconds,
    Seconds,
    Settings,
    SharedSettings,
)
from helexa.config.sockets import (
    HttpUrl,
    ListenSocket,
    ServerUrl,
    Socket,
    Url,
    WebsocketUrl,
)
from helexa.protocol.ids import neuron_id_problem

Port = Annotated[int, Field(ge=1024, le=65535)]
ENGINES_ALLOWED: Final = ("llamacpp", "vllm", "openai")


class ApiSettings(Settings):
    """The neuron's own API: `/health`, `/status`, `/metrics`."""

    socket: ListenSocket = Socket("127.0.0.1", 8060)
    """Where local tools reach this neuron."""
    allow_open: bool = False
    """Let other machines reach the API, which asks nobody for a key."""


class EngineSettings(Settings):
    """Which engines may run here, and where they listen (always on loopback)."""

    allowed: tuple[str, ...] = ENGINES_ALLOWED
    """Names of engines that a cortex may ask for. `echo`, the test engine, must be named."""
    binaries: dict[str, FilePath] = Field(default_factory=dict)
    """Absolute paths of engine executables by name, such as `llama-server`; one that is not named
    here is looked for in PATH."""
    port_first: Port = 21000
    """First port that engines may listen on."""
    port_last: Port = 21999
    """Last port that engines may listen on."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads for each engine; by default the number of physical cores."""


class AttachSettings(Settings):
    """Which running servers models may be attached to. Loopback is always allowed."""

    servers: tuple[ServerUrl, ...] = ()
    """Base URLs beyond loopback; a model's `listen_endpoint` must start with one of them."""
    any_server: bool = False
    """Allow every server, whatever a cortex asks for."""
    secrets_dir: FilePath | None = None
    """Folder with key files that models may name in their option `api_key_file`. Default:
    `secrets` in the state folder."""


class AdmissionSettings(Settings):
    """Requests that wait at a model whose seats are taken."""

    waiting_requests_max: Annotated[int, Field(ge=0, le=100_000)] = 64
    """Requests that may wait for one model; more are refused."""
    wait_s_max: PositiveSeconds = 30.0
    """Longest wait for a seat."""


class TimeoutSettings(Settings):
    """How long an engine may take."""

    load_s: PositiveSeconds = 600.0
    """From its start until its first token."""
    connect_s: PositiveSeconds = 5.0
    """To take a connection."""
    first_byte_s: PositiveSeconds = 300.0
    """To answer a request with its first token; after it, too, the engine is replaced."""
    stall_s: PositiveSeconds = 30.0
    """Longest silence between two tokens; after it the request fails and the engine is replaced."""
    drain_s: Seconds = 30.0
    """Running requests of a model that is unloaded, or of a neuron that stops, may take this
    long."""
    stop_s: PositiveSeconds = 5.0
    """From the polite to the forced end of an engine process."""


class HubSettings(Settings):
    """Where `hf:` sources are downloaded from."""

    endpoint: HttpUrl = Url("https", "huggingface.co", 443)
    """Base URL of the hub, or of a mirror."""
    token_file: FilePath | None = None
    """File with an access token, for models that need one."""


class TlsSettings(Settings):
    """How a cortex is recognised when it is dialled by `wss://`."""

    ca_file: FilePath | None = None
    """PEM file with the authorities to trust instead of the system's."""


class NeuronConfig(SharedSettings):
    """All settings of one neuron process."""

    node_id: str
    """Name of this neuron, unique in its fleet. Default: this machine's host name."""
    cortex_control_endpoint: WebsocketUrl = Url("ws", "127.0.0.1", 9040)
    """The control plane of the cortex to join."""
    join_token_file: FilePath | None = None
    """File with the token that the cortex asks for."""
    allow_cleartext: bool = False
    """Dial a cortex on another machine by `ws://`, where prompts travel unencrypted."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Free labels of this machine, shown by cortex."""
    memory_budget_bytes: ByteCount | None = None
    """Memory that models may use in all; by default what the machine has, less a reserve."""
    model_folders: tuple[FilePath, ...] = ()
    """Folders with weights that models may use by path; nothing outside them is read."""
    weights_dir: FilePath | None = None
    """Where downloaded weights are kept. Default: `models` in the state folder."""
    program_environment: dict[str, str] = Field(default_factory=dict, exclude=True, repr=False)
    """Environment of helper programs such as pip; engines never see it. Default: what this process
    has of PATH, HOME, PIP_…, proxies and certificates. Not shown, since it may hold credentials."""
    api: ApiSettings = ApiSettings()
    engines: EngineSettings = EngineSettings()
    attach: AttachSettings = AttachSettings()
    admission: AdmissionSettings = AdmissionSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    hub: HubSettings = HubSettings()
    tls: TlsSettings = TlsSettings()

    @field_validator("node_id")
    @classmethod
    def _node_id_is_allowed(cls, value: str) -> str:
        problem = neuron_id_problem(value)
        if problem:
            raise ValueError(problem)
        return value

    @property
    def weights_folder(self) -> Path:
        """Where downloaded weights are kept."""
        return self.weights_dir if self.weights_dir is not None else self.state_dir / "models"

    @property
    def secrets_folder(self) -> Path:
        """Where key files for other servers are looked for."""
        folder = self.attach.secrets_dir
        return folder if folder is not None else self.state_dir / "secrets"

    @property
    def model_roots(self) -> tuple[Path, ...]:
        """Every folder that weights may be read from, the downloads first."""
        return (self.weights_folder, *self.model_folders)
