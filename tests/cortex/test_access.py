"""Who gets in at each door."""

from pathlib import Path
from typing import Any

import pytest

from helexa.config.access import AdminSettings, AuthSettings
from helexa.config.cortex import CortexConfig, PortalSettings
from helexa.config.sockets import Socket
from helexa.cortex.access import authenticator_of, guarded, keeper_for, people_of
from helexa.cortex.admin.hosts import HostGuard
from helexa.cortex.admin.key_guard import KeyGuard
from helexa.cortex.admin.no_people import no_people
from helexa.cortex.gateway.auth import OpenDoor, StaticKeys
from helexa.cortex.gateway.store_keys import StoreKeys
from helexa.util.clock import SystemClock
from helexa.util.errors import ConfigError


def config(tmp_path: Path, **auth: Any) -> CortexConfig:
    return CortexConfig(state_dir=tmp_path, auth=AuthSettings(**auth))


async def test_the_settings_choose_who_tells_callers_apart(tmp_path: Path) -> None:
    """R3.27."""
    keys = tmp_path / "keys"
    keys.write_text("alice: sha256:" + "0" * 64)
    clock = SystemClock()
    assert isinstance(authenticator_of(config(tmp_path), None), OpenDoor)
    from_file = config(tmp_path, keys_file=keys)
    assert isinstance(authenticator_of(from_file, None), StaticKeys)
    assert keeper_for(from_file, clock, None) is None
    with pytest.raises(ConfigError):
        authenticator_of(config(tmp_path, keys_file=tmp_path / "none"), None)
    by_store = config(tmp_path, kind="store")
    keeper = keeper_for(by_store, clock, None)
    assert keeper is not None
    assert isinstance(authenticator_of(by_store, keeper), StoreKeys)
    assert not (tmp_path / "store.db").exists(), "nothing is opened by being made"
    assert people_of(None) is no_people
    assert people_of(keeper) is not no_people
    await keeper.close()


async def test_operators_doors_check_hosts_and_with_a_store_keys(tmp_path: Path) -> None:
    async def app(*_: Any) -> None:
        raise AssertionError("it is not called here")

    keeper = keeper_for(config(tmp_path, kind="store"), SystemClock(), None)
    assert keeper is not None
    assert isinstance(guarded(app, AdminSettings()), HostGuard)
    assert isinstance(guarded(app, PortalSettings(socket=Socket("127.0.0.1", 1))), HostGuard)
    assert guarded(app, PortalSettings(socket=Socket("127.0.0.1", 1), allow_open=True)) is app
    wide = AdminSettings(socket=Socket("0.0.0.0", 1), allow_open=True)
    assert isinstance(guarded(app, wide, keeper), KeyGuard)
    assert guarded(app, wide) is app
    inner = guarded(app, AdminSettings(), keeper)
    assert isinstance(inner, HostGuard)
    assert isinstance(inner._app, KeyGuard)
    await keeper.close()
