"""Finds the heuristics of provisioning by the name in `[provisioning] strategy`."""

import math
from typing import Any, Final, cast

from helexa.cortex.orchestrator.retention import Held
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import Load, Scale
from helexa.cortex.orchestrator.strategy import (
    DEFAULT_STRATEGY,
    DefaultStrategy,
    ProvisioningStrategy,
)
from helexa.util import logging, plugins
from helexa.util.errors import ConfigError, describe

ENTRY_POINTS: Final = "helexa.provisioners"
SETTING: Final = "[provisioning] strategy"
COMPONENT: Final = "control_plane"
BUILT_IN: Final = {"default": DefaultStrategy}
"""By name: a class, or anything that returns a strategy when it is called without arguments."""


def provisioner_of(name: str, logger: Any = None) -> ProvisioningStrategy:
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
    found = cast("ProvisioningStrategy", strategy)
    return found if name in BUILT_IN else Guarded(name, found, logger or logging.get(COMPONENT))


class Guarded:
    """A plug-in's strategy, and the default one for what it cannot answer.

    The control loop is the fleet's only writer: what raises in it, or returns nonsense, would end
    all loading and unloading. Each method's first fault is logged.
    """

    def __init__(self, name: str, strategy: ProvisioningStrategy, logger: Any) -> None:
        self._name = name
        self._strategy = strategy
        self._logger = logger
        self._told: set[str] = set()

    def resize(
        self, scale: Scale, load: Load, rules: ModelRules, policy: ProvisioningPolicy, now: float
    ) -> Scale:
        """Return the plug-in's next scale, else the default's."""
        try:
            found: object = self._strategy.resize(scale, load, rules, policy, now)
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything
            found = describe(error)
        if isinstance(found, Scale) and isinstance(found.replicas, int):
            return found
        self._tell("resize", found)
        return DEFAULT_STRATEGY.resize(scale, load, rules, policy, now)

    def retention_key(self, held: Held) -> tuple[float, ...]:
        """Return the plug-in's key; one that cannot be compared with others is empty.

        The default's would be of another shape than those that the plug-in does answer.
        """
        try:
            found: object = self._strategy.retention_key(held)
        except Exception as error:  # noqa: BLE001  a plug-in may raise anything
            found = describe(error)
        if isinstance(found, tuple) and all(map(_is_number, found)):
            return found
        self._tell("retention_key", found)
        return ()

    def _tell(self, method: str, found: object) -> None:
        if method not in self._told:
            self._told.add(method)
            because = f"{method} of {self._name!r} gave {found!r:.200}; the default is used instead"
            self._logger.error("provisioner_failed", because=because)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
