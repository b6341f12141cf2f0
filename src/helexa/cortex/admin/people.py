"""Tenants, projects, keys and the audit log by the admin API, as a table of routes.

Each entry is work on an open database, so that the same table serves a running cortex and the
command line with `--offline`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
from sqlalchemy import Connection

from helexa.cortex.admin.writes import Json, WriteBody
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Scope
from helexa.store import audit, keys, tenants
from helexa.store.key_text import problem_of
from helexa.store.records import DEFAULT_NAME
from helexa.store.store import Change

OVERLAP_S: Final = 86_400.0
AUDIT_ENTRIES: Final = 100
AUDIT_ENTRIES_MAX: Final = 1000
B = TypeVar("B", bound=WriteBody)
Texts = Mapping[str, str]


class NameBody(WriteBody, frozen=True, kw_only=True):
    """A tenant to make."""

    name: str


class ProjectBody(WriteBody, frozen=True, kw_only=True):
    """A project to make."""

    tenant: str
    name: str


class KeyBody(WriteBody, frozen=True, kw_only=True):
    """A key to make; `live_s` is how many seconds it is good for, without it until revoked."""

    name: str
    tenant: str = DEFAULT_NAME
    project: str = DEFAULT_NAME
    scopes: tuple[Scope, ...] = (Scope.INFERENCE,)
    live_s: float | None = None


class RotateBody(WriteBody, frozen=True, kw_only=True):
    """A key to follow another, and for how many seconds both are good."""

    overlap_s: float = OVERLAP_S
    live_s: float | None = None


class TriedBody(WriteBody, frozen=True, kw_only=True):
    """The text of a key; it is neither logged nor kept."""

    key: str


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """A GET: work on a connection, with the path's and the query's parameters and the time."""

    path: str
    work: Callable[[Connection, Texts, Texts, float], Json | Refusal]


@dataclass(frozen=True, slots=True)
class ChangeRoute(Generic[B]):
    """A POST that changes something."""

    path: str
    body: type[B]
    work: Callable[[Change, Texts, B], Json | Refusal]


def _tenants(connection: Connection, _path: Texts, _query: Texts, _now_s: float) -> Json:
    return {"tenants": tenants.tenant_views(connection)}


def _tenant(connection: Connection, path: Texts, _query: Texts, _now_s: float) -> Json | Refusal:
    found = tenants.tenant_view(connection, path["tenant"])
    return found if found is not None else tenants.no_tenant(path["tenant"])


def _projects(connection: Connection, _path: Texts, query: Texts, _now_s: float) -> Json:
    return {"projects": tenants.project_views(connection, query.get("tenant"))}


def _keys(connection: Connection, _path: Texts, query: Texts, now_s: float) -> Json:
    found = keys.key_views(
        connection, now_s, tenant=query.get("tenant"), project=query.get("project")
    )
    return {"keys": found}


def _audit(connection: Connection, _path: Texts, query: Texts, _now_s: float) -> Json | Refusal:
    numbers = {"limit": AUDIT_ENTRIES, "before": None}
    for name in numbers:
        given = query.get(name)
        if given is not None and not (given.isascii() and given.isdecimal() and len(given) < 18):
            because = f"{name} is {given[:32]!r}; it is a whole number"
            return Refusal(ErrorCode.BAD_REQUEST, because, param=name)
        if given is not None:
            numbers[name] = int(given)
    limit = min(numbers["limit"] or 0, AUDIT_ENTRIES_MAX)
    found = audit.audit_views(connection, limit, numbers["before"], query.get("subject"))
    return {"entries": [msgspec.structs.asdict(entry) for entry in found]}


READS: Final = (
    ReadRoute("/api/v1/tenants", _tenants),
    ReadRoute("/api/v1/tenants/{tenant}", _tenant),
    ReadRoute("/api/v1/projects", _projects),
    ReadRoute("/api/v1/keys", _keys),
    ReadRoute("/api/v1/audit", _audit),
)


def _set_tenant(*, disabled: bool) -> Callable[[Change, Texts, WriteBody], Json | Refusal]:
    return lambda change, path, _body: tenants.set_tenant(change, path["tenant"], disabled=disabled)


def _set_project(*, disabled: bool) -> Callable[[Change, Texts, WriteBody], Json | Refusal]:
    return lambda change, path, _body: tenants.set_project(
        change, path["tenant"], path["project"], disabled=disabled
    )


def _create_key(change: Change, _path: Texts, body: KeyBody) -> Json | Refusal:
    return keys.create_key(change, body.tenant, body.project, body.name, body.scopes, body.live_s)


def _rotate_key(change: Change, path: Texts, body: RotateBody) -> Json | Refusal:
    return keys.rotate_key(change, path["id"], body.overlap_s, body.live_s)


CHANGES: Final[tuple[ChangeRoute[Any], ...]] = (
    ChangeRoute(
        "/api/v1/tenants",
        NameBody,
        lambda change, _, body: tenants.create_tenant(change, body.name),
    ),
    ChangeRoute("/api/v1/tenants/{tenant}/disable", WriteBody, _set_tenant(disabled=True)),
    ChangeRoute("/api/v1/tenants/{tenant}/enable", WriteBody, _set_tenant(disabled=False)),
    ChangeRoute(
        "/api/v1/projects",
        ProjectBody,
        lambda change, _, body: tenants.create_project(change, body.tenant, body.name),
    ),
    ChangeRoute(
        "/api/v1/projects/{tenant}/{project}/disable", WriteBody, _set_project(disabled=True)
    ),
    ChangeRoute(
        "/api/v1/projects/{tenant}/{project}/enable", WriteBody, _set_project(disabled=False)
    ),
    ChangeRoute("/api/v1/keys", KeyBody, _create_key),
    ChangeRoute("/api/v1/keys/{id}/rotate", RotateBody, _rotate_key),
    ChangeRoute(
        "/api/v1/keys/{id}/revoke",
        WriteBody,
        lambda change, path, _: keys.revoke_key(change, path["id"]),
    ),
)
TEST_PATH: Final = "/api/v1/keys/test"


def key_standing(connection: Connection, body: TriedBody, now_s: float) -> Json:
    """Tell an operator how a key stands, and what it is where its secret is its own."""
    problem = problem_of(body.key)
    if problem is not None:
        return {"standing": "not a key", "because": problem, "key": None}
    standing, key_id = keys.standing_of(connection, body.key.encode(), now_s)
    found = None if key_id is None else keys.key_views(connection, now_s, key_id=key_id)[0]
    return {"standing": standing.value, "because": "", "key": found}
