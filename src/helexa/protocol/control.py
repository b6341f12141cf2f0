"""Control messages between cortex and neuron: JSON text frames, tagged by `kind`.

The neuron speaks first, with `register`; anything else is refused. The golden frames in
tests/replays are the specification. Unknown fields are ignored; an unknown kind is answered with
`error` and the connection goes on.
"""

import msgspec

from helexa.protocol.ids import CommandId, ModelId
from helexa.protocol.model import ModelConfig, ModelStatus
from helexa.protocol.neuron import Capabilities, NeuronDescriptor, NeuronHealth, NeuronLoad


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    pass


# ── provisioning commands: what a cortex may ask of a neuron ──────────────────────────────────


class _Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    pass


class UpsertModelConfig(_Command, frozen=True, kw_only=True, tag="upsert_model_config"):
    """Remember this config. A loaded model keeps running; its status says that it differs."""

    config: ModelConfig


class LoadModel(_Command, frozen=True, kw_only=True, tag="load_model"):
    """Run the model; idempotent. The answer says that loading began, a status that it ended."""

    model_id: ModelId


class UnloadModel(_Command, frozen=True, kw_only=True, tag="unload_model"):
    """Stop the model after its requests (bounded); idempotent. `forget` drops its config too.

    `drain_s` is how long they may take, at most an hour; None is the neuron's own setting.
    """

    model_id: ModelId
    forget: bool = False
    drain_s: float | None = None


ProvisioningCommand = UpsertModelConfig | LoadModel | UnloadModel


# ── neuron → cortex ───────────────────────────────────────────────────────────────────────────


class Register(_Message, frozen=True, kw_only=True, tag="register"):
    """The first frame of a connection."""

    version_min: int
    version_max: int
    neuron: NeuronDescriptor
    capabilities: Capabilities
    models: tuple[ModelStatus, ...] = ()


class Heartbeat(_Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Every few seconds: alive, how it is, and every model's state."""

    sequence: int
    health: NeuronHealth
    load: NeuronLoad
    models: tuple[ModelStatus, ...] = ()
    capabilities_generation: int = 0
    """Of the capabilities told last: cortex asks where it holds others. 0 is unknown."""


class CapabilitiesReport(_Message, frozen=True, kw_only=True, tag="capabilities"):
    """The answer to `request_capabilities`, also sent when hardware or engines change."""

    capabilities: Capabilities
    models: tuple[ModelStatus, ...] = ()


class ModelReport(_Message, frozen=True, kw_only=True, tag="model_status"):
    """One model changed its state: sent at once, not at the next heartbeat."""

    status: ModelStatus


class ProvisioningResponse(_Message, frozen=True, kw_only=True, tag="provisioning_response"):
    """How a command was taken. `accepted` says it was begun or needed nothing."""

    command_id: CommandId
    model_id: ModelId
    accepted: bool
    because: str = ""
    rule: str = ""
    """The number of the neuron's own rule that refused it (docs/security.md), if one did."""


class HealthReport(_Message, frozen=True, kw_only=True, tag="health"):
    """Health out of turn: something broke or healed."""

    health: NeuronHealth


class Shutdown(_Message, frozen=True, kw_only=True, tag="shutdown"):
    """The neuron is leaving on purpose; send no more requests."""

    reason: str = ""


# ── cortex → neuron ───────────────────────────────────────────────────────────────────────────


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """Registration is accepted; `version` is spoken from here on."""

    version: int
    cortex_id: str
    heartbeat_interval_s: float


class Provisioning(_Message, frozen=True, kw_only=True, tag="provisioning"):
    """One command. The same `command_id` again is answered again, but done once."""

    command_id: CommandId
    command: ProvisioningCommand
    cause: str = ""


class RequestCapabilities(_Message, frozen=True, kw_only=True, tag="request_capabilities"):
    """Ask for `capabilities` now."""


class ShutdownNotice(_Message, frozen=True, kw_only=True, tag="shutdown_notice"):
    """cortex is leaving; keep models loaded and reconnect."""

    reason: str = ""
    reconnect_after_s: float = 0.5


# ── both ways ─────────────────────────────────────────────────────────────────────────────────


class ProtocolFault(_Message, frozen=True, kw_only=True, tag="error"):
    """The last frame was not understood or not allowed, and why."""

    code: str
    message: str


NeuronMessage = (
    Register
    | Heartbeat
    | CapabilitiesReport
    | ModelReport
    | ProvisioningResponse
    | HealthReport
    | Shutdown
    | ProtocolFault
)
CortexMessage = Welcome | Provisioning | RequestCapabilities | ShutdownNotice | ProtocolFault
