"""From cortex's settings to what its orchestrator is told. Pure.

The spec file's models are already merged into `config.models` when the settings are read.
"""

from helexa.config.cortex import CortexConfig
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.liveness import LivenessPolicy
from helexa.cortex.orchestrator.policy import FleetPolicy
from helexa.cortex.orchestrator.snapshot import frozen
from helexa.protocol.ids import ModelId
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
        preload=provisioning.preload,
        default_models=frozen(_default_models(config)),
    )


def desired_of(config: CortexConfig, cause: str) -> DesiredChanged:
    """Return the models that should run; `cause` is told to neurons with each command."""
    return DesiredChanged(models=config.model_configs(), cause=cause)


def _default_models(config: CortexConfig) -> dict[WorkloadClass, ModelId]:
    defaults = config.default_models
    named = {
        WorkloadClass.CHAT_INTERACTIVE: defaults.chat,
        WorkloadClass.CHAT_BULK: defaults.bulk or defaults.chat,
        WorkloadClass.EMBEDDING: defaults.embedding,
        WorkloadClass.VISION_CAPTION: defaults.vision,
    }
    return {key: ModelId(name) for key, name in named.items() if name is not None}
