"""From the settings of routing to a router: names become what is built in or installed."""

import secrets
from typing import Any, Final, cast

from helexa.config.cortex import RoutingSettings
from helexa.cortex.orchestrator.filters import TenantPolicy
from helexa.cortex.orchestrator.prefix import Realms
from helexa.cortex.orchestrator.router import Router
from helexa.cortex.orchestrator.snapshot import frozen
from helexa.cortex.orchestrator.strategies import BUILT_IN, ENTRY_POINTS, Factory, RoutingPolicy
from helexa.cortex.orchestrator.strategy_check import problems_of
from helexa.util import plugins
from helexa.util.errors import ConfigError

TENANT_POLICIES: Final = "helexa.tenant_policies"
_ALLOW_ALL: Final[dict[str, Any]] = {"allow_all": None}


def router_of(settings: RoutingSettings) -> Router:
    """Return a router with an empty memory. Raises ConfigError for a plug-in that is not fit."""
    name = settings.strategy
    setting = "[routing] strategy"
    factory = cast("Factory", plugins.load(ENTRY_POINTS, name, BUILT_IN, setting))
    if name not in BUILT_IN:
        problems = problems_of(factory)
        if problems:
            raise ConfigError(
                f"{setting}: {name!r} breaks the rules of a strategy: {'; '.join(problems[:3])}",
                error_id="HX-0584",
                hint="tell its author; `strategy_check.problems_of` finds the same",
            )
    policy = RoutingPolicy(
        weights=frozen(settings.weights.model_dump()),
        affinity_load_factor=settings.affinity_load_factor,
    )
    may_use = plugins.load(
        TENANT_POLICIES, settings.tenant_policy, _ALLOW_ALL, "[routing] tenant_policy"
    )
    if may_use is not None and not callable(may_use):
        raise ConfigError(
            f"[routing] tenant_policy: {settings.tenant_policy!r} is no function of a request and "
            "a replica",
            error_id="HX-0585",
            hint="tell its author, or name another",
        )
    return Router(
        strategy=factory(policy),
        strategy_name=name,
        may_use=cast("TenantPolicy | None", may_use),
        # The index dies with the process, and so may the secret.
        realms=Realms(secrets.token_bytes(16), shared=settings.share_prompts),
        shown=settings.show_route,
    )
