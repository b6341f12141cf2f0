"""Tenants and keys over HTTP."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from helexa.cortex.admin.people_routes import people_routes
from helexa.cortex.admin.writes import Writes
from helexa.cortex.identity import Keeper
from tests.fakes.control_plane import recording_logger
from tests.fakes.kept import opened_keeper


class World:
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.log: list[dict[str, Any]] = []
        writes = Writes(lambda _event: None, recording_logger(self.log))
        self.client = TestClient(Starlette(routes=people_routes(keeper, writes)))

    def post(self, path: str, **body: object) -> Any:
        return self.client.post(f"/api/v1/{path}", json=body)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    keeper = opened_keeper(tmp_path)
    yield World(keeper)
    asyncio.run(keeper.close())


def test_a_key_that_was_made_is_good_at_once_and_one_that_was_revoked_is_not(
    world: World,
) -> None:
    """S10: on this cortex there is no wait at all."""
    made = world.post("keys", name="alice", scopes=["inference", "read"], live_s=60).json()
    assert world.keeper.keys.authenticate(made["key"].encode()).key_id == made["id"]  # type: ignore[union-attr]
    assert world.post(f"keys/{made['id']}/revoke", cause="lost").status_code == 200
    refused = world.keeper.keys.authenticate(made["key"].encode())
    assert refused.code == "invalid_api_key"  # type: ignore[union-attr]
    listed = world.client.get("/api/v1/keys").json()["keys"]
    assert [each["state"] for each in listed] == ["revoked"]


def test_refusals_have_their_codes(world: World) -> None:
    assert world.post("tenants", name="acme").status_code == 200
    for status, path, body in (
        (409, "tenants", {"name": "acme"}),
        (400, "tenants", {"name": "No Name"}),
        (400, "tenants", {"name": "x", "is_admin": True}),
        (400, "keys", {"name": "x", "scopes": ["root"]}),
        (404, "keys", {"name": "x", "tenant": "nobody"}),
        (404, "keys/nope/revoke", {}),
        (404, "projects/acme/nope/disable", {}),
    ):
        answer = world.client.post(f"/api/v1/{path}", json=body)
        assert answer.status_code == status, (path, body, answer.text)
        assert answer.json()["error"]["code"]
    assert world.client.get("/api/v1/tenants/nobody").status_code == 404


def test_nothing_of_a_key_is_logged(world: World) -> None:
    """S15."""
    made = world.post("keys", name="alice").json()
    world.post("keys/test", key=made["key"])
    world.post("keys/test", key=made["key"], oops=1)
    secret = made["key"].split("_")[2]
    assert len(world.log) == 3
    assert secret not in repr(world.log)
    assert secret not in world.client.get("/api/v1/audit").text


@pytest.mark.parametrize("text", ["'; DROP TABLE tenants; --", "' OR 1=1 --", "x' UNION SELECT 1",
                                  "%00", "../..", "\\", '"'])  # fmt: skip
def test_what_looks_like_sql_is_only_text(world: World, text: str) -> None:
    """S06."""
    for path in ("keys", "projects", "audit"):
        answer = world.client.get(f"/api/v1/{path}", params={"tenant": text, "subject": text})
        assert answer.status_code == 200
    assert world.post("keys", name=text, tenant=text).status_code == 404
    assert len(world.client.get("/api/v1/tenants").json()["tenants"]) == 1


def test_a_store_that_fails_is_503_with_the_reason(tmp_path: Path) -> None:
    keeper = opened_keeper(tmp_path)
    world = World(keeper)
    asyncio.run(keeper.read(lambda connection: connection.exec_driver_sql("DROP TABLE keys")))
    for answer in (world.client.get("/api/v1/keys"), world.post("keys", name="x")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")
        assert "store.db" in answer.json()["error"]["message"]
    asyncio.run(keeper.close())
