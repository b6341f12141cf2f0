"""The heuristics of provisioning as one replaceable part, and the one that helexa comes with. Pure.

Another one is named by `[provisioning] strategy` and found by the entry point group
`helexa.provisioners`; tests/conformance/provisioner_contract.py says what it must keep to. It
chooses a number and an order; it cannot break a rule: numbers are clamped to `min_replicas` and
`max_replicas`, and whether a model may be evicted at all is not asked of it.
"""

from typing import Final, Protocol

from helexa.cortex.orchestrator.retention import Held, retention_key
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import Load, Scale, resize


class ProvisioningStrategy(Protocol):
    """How many replicas, and which model goes first. Both are pure."""

    def resize(
        self, scale: Scale, load: Load, rules: ModelRules, policy: ProvisioningPolicy, now: float
    ) -> Scale:
        """Return the next scale of a model; asked about once a second, `now` in seconds."""
        ...

    def retention_key(self, held: Held) -> tuple[float, ...]:
        """Return the order in which models make room: the smallest key goes first."""
        ...


class DefaultStrategy:
    """Little's law with hysteresis; the longest idle goes first."""

    def resize(
        self, scale: Scale, load: Load, rules: ModelRules, policy: ProvisioningPolicy, now: float
    ) -> Scale:
        """Return the next scale: see `sizing`."""
        return resize(scale, load, rules, policy, now)

    def retention_key(self, held: Held) -> tuple[float, ...]:
        """Return the order of going: see `retention`."""
        return retention_key(held)


DEFAULT_STRATEGY: Final[ProvisioningStrategy] = DefaultStrategy()
