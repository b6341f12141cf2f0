"""Settings of who may do what."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from helexa.config.access import AdminSettings, AuthSettings, StoreSettings
from helexa.config.cortex import CortexConfig
from helexa.config.problems import dotted
from helexa.config.rules import validate_cortex
from helexa.config.sockets import Socket
from helexa.config.store_url import Location


def told(**tree: Any) -> dict[str, str]:
    config = CortexConfig.model_validate({"state_dir": "/x", **tree})
    return {dotted(found.path): found.message for found in validate_cortex(config, lambda _: [])}


def test_what_is_in_force_is_what_was_said_or_what_is_there() -> None:
    """R3.15, R3.27."""
    assert AuthSettings().chosen == "none"
    assert AuthSettings(keys_file=Path("/k")).chosen == "keys_file"
    assert AuthSettings(kind="store").chosen == "store"
    with pytest.raises(ValidationError):
        AuthSettings(kind="oidc")  # type: ignore[arg-type]


def test_the_admin_api_asks_beyond_loopback_and_where_it_was_told_to() -> None:
    far = Socket("0.0.0.0", 8040)
    assert not AdminSettings().asks_for_key
    assert not AdminSettings(socket=None).asks_for_key
    assert AdminSettings(require_key=True).asks_for_key
    assert AdminSettings(socket=far).asks_for_key
    assert not AdminSettings(socket=far, allow_open=True).asks_for_key


def test_keys_of_the_store_protect_the_gateway_and_the_admin_api() -> None:
    far = {"gateway": {"socket": ":8080"}, "admin": {"socket": ":8040"}}
    assert set(told(**far)) == {"gateway.socket", "admin.socket"}
    assert set(told(**far, auth={"keys_file": "/k"})) == {"admin.socket"}
    assert told(**far, auth={"kind": "store"}) == {}
    assert set(told(**far, auth={"kind": "none"})) == {"gateway.socket", "admin.socket"}


@pytest.mark.parametrize(
    ("tree", "where", "message"),
    [
        ({"auth": {"kind": "keys_file"}}, "auth.keys_file", "is missing"),
        ({"auth": {"kind": "none", "keys_file": "/k"}}, "auth.keys_file", "is not used"),
        ({"auth": {"kind": "store", "keys_file": "/k"}}, "auth.keys_file", "is not used"),
        ({"admin": {"require_key": True}}, "admin.require_key", 'auth.kind = "store"'),
        (
            {"admin": {"require_key": True, "allow_open": True}, "auth": {"kind": "store"}},
            "admin.require_key", "leave one of them out",
        ),
        ({"store": {"password_file": "/p"}}, "store.password_file", "is for PostgreSQL"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_told(tree: dict[str, Any], where: str, message: str) -> None:
    assert message in told(**tree)[where]


def test_a_store_is_in_the_state_folder_or_where_its_url_says() -> None:
    assert StoreSettings().location(Path("/s")) == Location(path="/s/store.db")
    url = "postgresql://me@db/helexa"
    assert StoreSettings(url=url).location(Path("/s")) == Location(url=url)
    with pytest.raises(ValidationError) as caught:
        StoreSettings(url="postgresql://me:hunter2@db/helexa")
    assert "password_file" in str(caught.value)
    assert "hunter2" not in str(caught.value)
