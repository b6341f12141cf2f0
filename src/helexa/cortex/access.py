"""Who gets in at each door of a cortex, as the settings say."""

from typing import TYPE_CHECKING, Any

from helexa.config.access import AdminSettings
from helexa.config.cortex import CortexConfig, PortalSettings
from helexa.config.keys import read_keys_file
from helexa.cortex.admin.hosts import App, HostGuard
from helexa.cortex.admin.key_guard import KeyGuard
from helexa.cortex.admin.no_people import People, no_people
from helexa.cortex.gateway.auth import OpenDoor, StaticKeys
from helexa.protocol.ports import Authenticator
from helexa.util.clock import Clock

if TYPE_CHECKING:
    from helexa.cortex.identity import Keeper


def keeper_for(config: CortexConfig, clock: Clock, logger: Any) -> "Keeper | None":
    """Return the keeper of the store; None where callers are not known by it. Nothing is opened."""
    if config.auth.chosen != "store":
        return None
    from helexa.cortex.identity import keeper_of  # noqa: PLC0415  (24 MiB, 0.3 s of CPU)

    return keeper_of(config, clock, logger)


def authenticator_of(config: CortexConfig, keeper: "Keeper | None") -> Authenticator:
    """Return who tells callers apart at the gateway; raises ConfigError for a bad keys file."""
    if keeper is not None:
        return keeper.keys
    keys_file = config.auth.keys_file
    return OpenDoor() if keys_file is None else StaticKeys(read_keys_file(keys_file))


def people_of(keeper: "Keeper | None") -> People:
    """Return what makes the admin API's routes of tenants and keys."""
    if keeper is None:
        return no_people
    from helexa.cortex.admin.people_routes import people_routes  # noqa: PLC0415  (as above)

    return lambda writes: people_routes(keeper, writes)


def guarded(
    app: App, settings: AdminSettings | PortalSettings, keeper: "Keeper | None" = None
) -> App:
    """Return an operator's app behind what keeps strangers out: a check of hosts, and of keys."""
    if keeper is not None and isinstance(settings, AdminSettings):
        app = KeyGuard(app, keeper.keys, asks=settings.asks_for_key)
    if settings.allow_open or settings.socket is None:
        return app
    return HostGuard(app, settings.socket.host)
