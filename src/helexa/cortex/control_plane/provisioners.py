"""Finds the heuristics of provisioning by the name in `[provisioning] strategy`."""

from typing import Final, cast

from helexa.cortex.orchestrator.strategy import DefaultStrategy, ProvisioningStrategy
from helexa.util import plugins
from helexa.util.errors import ConfigError, describe

ENTRY_POINTS: Final = "helexa.provisioners"
SETTING: Final = "[provisioning] strategy"
BUILT_IN: Final = {"default": DefaultStrategy}
"""By name: a class, or anything that returns a strategy when it is called without arguments."""


def provisioner_of(name: str) -> ProvisioningStrategy:
    """Return the strategy of a name; raises ConfigError where there is none that can be used."""
    factory = plugins.load(ENTRY_POINTS, name, BUILT_IN, SETTING)
    try:
        strategy = factory()
    except Exception as error:
        raise ConfigError(
            f"{SETTING}: {name!r} cannot be made: {describe(error)}",
            error_id="HX-0583",
            hint="update or remove its package, or name another",
        ) from error
    missing = [
        method
        for method in ("resize", "retention_key")
        if not callable(getattr(strategy, method, None))
    ]
    if missing:
        raise ConfigError(
            f"{SETTING}: {name!r} is no provisioning strategy: it lacks {', '.join(missing)}",
            error_id="HX-0583",
            hint="tests/conformance/provisioner_contract.py says what one must have",
        )
    return cast("ProvisioningStrategy", strategy)
