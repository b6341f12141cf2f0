"""Who may do what by the admin API: every route, every role."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from helexa.config.cortex import CortexConfig
from helexa.cortex.access import people_of
from helexa.cortex.admin.api import AdminFacts, admin_app
from helexa.cortex.admin.join import JoinInfo
from helexa.cortex.admin.key_guard import PUBLIC, KeyGuard
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.gateway.auth import OpenDoor
from helexa.cortex.identity import Keeper
from helexa.cortex.mesh import MeshView
from helexa.cortex.orchestrator.snapshot import EMPTY
from helexa.protocol.ports import Scope
from tests.fakes.control_plane import recording_logger
from tests.fakes.kept import make_key, opened_keeper, revoke

ROLES = {
    "nobody": (), "a stranger": (), "revoked": (Scope.ADMIN,), "inference": (Scope.INFERENCE,),
    "read": (Scope.READ,), "admin": (Scope.ADMIN,), "all": tuple(Scope),
}  # fmt: skip
MAY_READ = {"read", "admin", "all"}
MAY_CHANGE = {"admin", "all"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")


async def kept() -> str:
    return ""


class World:
    def __init__(self, keeper: Keeper) -> None:
        self.log: list[dict[str, Any]] = []
        facts = AdminFacts(
            snapshot=lambda: EMPTY,
            desk=SpecDesk(CortexConfig(state_dir=Path("state")), lambda _: (), Path("s"), None),
            report=lambda _event: None,
            keep_fleet=kept,
            keep_demand=kept,
            logger=recording_logger(self.log),
            monotonic=lambda: 0.0,
            in_flight=lambda _replica: 0,
            requests=dict,
            decided=lambda _id: None,
            draining=lambda: False,
            metrics=lambda: b"",
            mesh=MeshView("local"),
            join=JoinInfo("", token_needed=False),
            sockets={},
            cortex_id="c",
            version="0",
            started_s=0.0,
            people=people_of(keeper),
        )
        self.app = admin_app(facts)
        self.routes = [route for route in self.app.routes if isinstance(route, Route)]
        self.keys: dict[str, str] = {"a stranger": "hlx_" + "x" * 61}

        async def make() -> None:
            for role, scopes in ROLES.items():
                if scopes:
                    made = await make_key(keeper, *scopes)
                    self.keys[role] = made["key"]
                    if role == "revoked":
                        await revoke(keeper, made["id"])

        asyncio.run(make())
        self.keeper = keeper

    def client(self, *, asks: bool) -> TestClient:
        return TestClient(KeyGuard(self.app, self.keeper.keys, asks=asks))

    def headers(self, role: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.keys[role]}"} if role in self.keys else {}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keeper = opened_keeper(tmp_path_factory.mktemp("state"))
    yield World(keeper)
    asyncio.run(keeper.close())


@pytest.mark.parametrize("role", ROLES)
def test_every_route_and_method_asks_for_the_scope_that_it_takes(world: World, role: str) -> None:
    """S07: role x route x method, from the route table itself."""
    client = world.client(asks=True)
    assert len(world.routes) > 30
    for route in world.routes:
        path = re.sub(r"\{[a-z_]+(:path)?\}", "x", route.path)
        for method in METHODS:
            world.keeper.keys.publish(world.keeper.keys.book)  # type: ignore[arg-type]
            world.keeper.keys._peers.__init__()  # type: ignore[misc]
            world.keeper.keys._targets.__init__()  # type: ignore[misc]
            status = client.request(method, path, headers=world.headers(role)).status_code
            may = role in (MAY_READ if method in {"GET", "HEAD"} else MAY_CHANGE)
            if path in PUBLIC or may:
                assert status not in {401, 403}, (role, method, path)
            else:
                known = role in MAY_READ | {"inference"}
                assert status == (403 if known else 401), (role, method, path)


def test_a_refused_write_changes_nothing(world: World) -> None:
    before = world.keeper.keys.book
    answer = world.client(asks=True).post(
        "/api/v1/tenants", json={"name": "acme"}, headers=world.headers("read")
    )
    assert answer.status_code == 403
    assert "scope admin" in answer.json()["error"]["message"]
    assert world.keeper.keys.book is before


def test_a_missing_key_is_told_how_to_send_one(world: World) -> None:
    answer = world.client(asks=True).get("/api/v1/status")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_guessing_is_slowed_here_too(world: World) -> None:
    client = world.client(asks=True)
    answers = [client.get("/api/v1/status", headers=world.headers("a stranger"))
               for _ in range(40)]  # fmt: skip
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "1"
    assert client.get("/api/v1/status", headers=world.headers("admin")).status_code == 200
    world.keeper.keys._peers.__init__()  # type: ignore[misc]
    world.keeper.keys._targets.__init__()  # type: ignore[misc]


def test_where_no_key_is_asked_for_a_good_one_still_names_who_did_it(world: World) -> None:
    client = world.client(asks=False)
    assert client.post("/api/v1/tenants", json={"name": "by-nobody"}).status_code == 200
    client.post("/api/v1/tenants", json={"name": "by-key"}, headers=world.headers("admin"))
    client.post("/api/v1/tenants", json={"name": "stranger"}, headers=world.headers("a stranger"))
    entries = client.get("/api/v1/audit").json()["entries"]
    actors = {entry["subject"]: entry["actor"] for entry in entries}
    assert actors["by-nobody"] == actors["stranger"] == "anybody at testclient"
    assert re.fullmatch(r"key \w{11} \(someone\)", actors["by-key"])
    assert world.log[-1]["actor"].startswith("anybody")


def test_an_open_door_lets_everybody_read_and_nobody_change() -> None:
    """What the guard does where keys have no scopes: anonymous callers have no scope admin."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    client = TestClient(KeyGuard(app, OpenDoor(), asks=True))
    assert client.get("/x").status_code == 200
    assert client.post("/x").status_code == 403
