"""The knobs of the orchestrator, as one value with the defaults. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from helexa.cortex.orchestrator.liveness import LivenessPolicy
from helexa.cortex.orchestrator.rules import ProvisioningPolicy
from helexa.cortex.orchestrator.strategy import DEFAULT_STRATEGY, ProvisioningStrategy
from helexa.protocol.ids import ModelId
from helexa.protocol.workload import WorkloadClass
from helexa.util.backoff import Backoff

ACCEPTED_S: Final = 15.0
"""An accepted load must show in a report within this time."""
REPLACE_AFTER_S: Final = 15.0
"""A neuron that vanished is given this long to come back before its models go elsewhere."""
OWN_RETRY_MARGIN_S: Final = 15.0
"""Past a neuron's own time for a retry, cortex waits this long before it acts itself."""
SURPLUS_S: Final = 30.0
"""A replica too many leaves only when all of them have been there for so long: a neuron that comes
and goes must not make its models come and go elsewhere."""


@dataclass(frozen=True, slots=True)
class FleetPolicy:
    """What an operator can set about the fleet."""

    liveness: LivenessPolicy = field(default_factory=LivenessPolicy)
    retry: Backoff = field(default_factory=lambda: Backoff(initial_s=2.0, ceiling_s=300.0))
    """Waits before a neuron is asked again to load what failed on it."""
    command_timeout_s: float = 10.0
    """A command that was not answered by then counts as lost."""
    provisioning: ProvisioningPolicy = field(default_factory=ProvisioningPolicy)
    strategy: ProvisioningStrategy = DEFAULT_STRATEGY
    default_models: Mapping[WorkloadClass, ModelId] = field(
        default_factory=lambda: MappingProxyType({})
    )
