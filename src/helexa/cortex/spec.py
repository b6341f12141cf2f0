"""From cortex's settings to what its orchestrator is told. Pure.

The spec file's models are already merged into `config.models` when the settings are read.
"""

from helexa.config.cortex import (
    CortexConfig,
    ModelEntry,
    PolicySettings,
    ProvisioningSettings,
)
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.liveness import LivenessPolicy
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.rules import (
    ModelRules,
    PlacementRules,
    Priority,
    ProvisioningPolicy,
)
from helexa.cortex.orchestrator.snapshot import frozen
from helexa.protocol.ids import ModelId, NeuronId
from helexa.protocol.workload import WorkloadClass
from helexa.util.backoff import Backoff


def policy_of(config: CortexConfig) -> FleetPolicy:
    """Return the orchestrator's knobs as the settings have them."""
    plane, provisioning = config.control_plane, config.provisioning
    return FleetPolicy(
        liveness=LivenessPolicy(
            suspect_after_s=plane.suspect_after_s, lost_after_s=plane.lost_after_s
        ),
        retry=Backoff(
            initial_s=provisioning.retry_initial_s, ceiling_s=provisioning.retry_ceiling_s
        ),
        command_timeout_s=provisioning.command_timeout_s,
        provisioning=_policy(provisioning),
        default_models=frozen(_default_models(config)),
    )


def desired_of(config: CortexConfig, cause: str) -> DesiredChanged:
    """Return the models that should run; `cause` is told to neurons with each command."""
    rules = {ModelId(entry.id): rules_of(entry, config.provisioning) for entry in config.models}
    policy = _policy(config.provisioning)
    return DesiredChanged(config.model_configs(), rules=rules, policy=policy, cause=cause)


def rules_of(entry: ModelEntry, provisioning: ProvisioningSettings) -> ModelRules:
    """Return what is asked of a model, with what it leaves unsaid filled in."""
    least = entry.min_replicas
    if least is None:
        least = 1 if provisioning.preload else 0
    keep_alive_s = entry.keep_alive_s
    if "keep_alive_s" not in entry.model_fields_set and least == 0:
        keep_alive_s = provisioning.keep_alive_s
    placement = entry.placement
    return ModelRules(
        min_replicas=least,
        max_replicas=entry.max_replicas,
        guaranteed=bool(entry.min_replicas),
        weight=entry.weight,
        priority=Priority[entry.priority.upper()],
        keep_alive_s=keep_alive_s,
        pinned=entry.pinned,
        forecast=provisioning.forecast if entry.forecast is None else entry.forecast,
        placement=PlacementRules(
            neurons=frozenset(map(NeuronId, placement.neurons)),
            labels=tuple(sorted(placement.labels.items())),
            beside=frozenset(map(ModelId, placement.beside)),
            apart_from=frozenset(map(ModelId, placement.apart_from)),
            spread=placement.spread,
        ),
    )


def _policy(settings: PolicySettings) -> ProvisioningPolicy:
    return ProvisioningPolicy(
        models_per_neuron_max=settings.models_per_neuron_max,
        scale_up_after_s=settings.scale_up_after_s,
        cooldown_s=settings.cooldown_s,
        target_utilisation=settings.target_utilisation,
        learned_seats_min=settings.learned_seats_min,
        keep_alive_s=settings.keep_alive_s,
        hold_max_s=settings.hold_max_s,
        idle_min_s=settings.idle_min_s,
    )


def _default_models(config: CortexConfig) -> dict[WorkloadClass, ModelId]:
    defaults = config.default_models
    named = {
        WorkloadClass.CHAT_INTERACTIVE: defaults.chat,
        WorkloadClass.CHAT_BULK: defaults.bulk or defaults.chat,
        WorkloadClass.EMBEDDING: defaults.embedding,
        WorkloadClass.VISION_CAPTION: defaults.vision,
    }
    return {key: ModelId(name) for key, name in named.items() if name is not None}
