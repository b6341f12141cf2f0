"""Short ways to say what a neuron is and what it reports."""

from helexa.cortex.orchestrator.events import (
    DemandRestored,
    DemandSampled,
    DesiredChanged,
    NeuronRegistered,
)
from helexa.cortex.orchestrator.fleet import FleetState
from helexa.cortex.orchestrator.forecast import NEVER, with_day
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.remembered import DemandMemory, RememberedModel
from helexa.cortex.orchestrator.rules import ModelRules
from helexa.protocol.control import Register
from helexa.protocol.dialects.dialect import DIALECTS
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.lifecycle import ModelState
from helexa.protocol.model import ModelCapability, ModelConfig, ModelStatus
from helexa.protocol.neuron import Capabilities, HardwareReport, NeuronDescriptor
from helexa.protocol.workload import Workload

GIB = 2**30
CHAT = ModelCapability(
    workloads=(Workload.CHAT, Workload.COMPLETION), context_tokens=4096, seats=4, memory_bytes=GIB
)
EMBEDDINGS = ModelCapability(workloads=(Workload.EMBEDDINGS,), seats=4, memory_bytes=GIB)


def model(model_id: str = "m", engine: str = "echo", **fields: object) -> ModelConfig:
    return ModelConfig(id=ModelId(model_id), engine=engine, **fields)  # type: ignore[arg-type]


def capabilities(budget_bytes: int = 8 * GIB, engines: tuple[str, ...] = ("echo",)) -> Capabilities:
    hardware = HardwareReport(
        cpu_count=8, memory_total_bytes=16 * GIB, memory_available_bytes=16 * GIB
    )
    return Capabilities(
        hardware=hardware,
        engines=engines,
        memory_budget_bytes=budget_bytes,
        dialects=tuple(DIALECTS),
    )


def status(
    config: ModelConfig,
    state: ModelState = ModelState.LOADED,
    capability: ModelCapability | None = CHAT,
    **fields: object,
) -> ModelStatus:
    return ModelStatus(
        model_id=config.id,
        state=state,
        config_digest=config.digest(),
        capability=capability,
        config=config,
        **fields,  # type: ignore[arg-type]
    )


def register(
    neuron_id: str = "n1",
    *models: ModelStatus,
    epoch: int = 1,
    budget_bytes: int = 8 * GIB,
    engines: tuple[str, ...] = ("echo",),
    version: int = 1,
) -> Register:
    return Register(
        version_min=1,
        version_max=version,
        neuron=NeuronDescriptor(id=NeuronId(neuron_id), epoch=epoch),
        capabilities=capabilities(budget_bytes, engines),
        models=models,
    )


def fleet(
    *configs: ModelConfig, policy: FleetPolicy | None = None, rules: ModelRules | None = None
) -> FleetState:
    """Return a fleet without neurons; `rules` are those of each model."""
    state = FleetState(policy or FleetPolicy(), "test")
    asked = {} if rules is None else {config.id: rules for config in configs}
    state.apply([DesiredChanged(models=configs, rules=asked, cause="config")], 0.0)
    return state


def joined(connection: int, message: Register) -> NeuronRegistered:
    return NeuronRegistered(connection=connection, register=message)


def expected_at_nine(rules: ModelRules) -> FleetState:
    """Return a fleet without neurons at 9:00 on a weekday; m was asked for on four of five."""
    profile = NEVER
    for level in (1, 1, 0, 1, 1):
        profile = with_day(profile, 9, level)
    kept = RememberedModel(model_id=ModelId("m"), profile=profile, idle_s=9000.0)
    state = fleet(model("m"), rules=rules)
    state.apply([DemandRestored(DemandMemory(models=(kept,))), DemandSampled((), 9 * 3600.0)], 0.0)
    return state
