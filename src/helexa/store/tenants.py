"""Changes to tenants and projects, and how they are shown. Each change works on an open `Change`.

An expected "no" is a refusal, which undoes the change. Nothing is ever deleted: what is disabled
stays, so that what was booked on it can be told.
"""

from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.store.records import DEFAULT_NAME, name_problem
from helexa.store.store import Change
from helexa.store.tables import KEYS, PROJECTS, TENANTS

TENANTS_MAX: Final = 100_000
Row = dict[str, Any]


def create_tenant(change: Change, name: str) -> Row | Refusal:
    """Make a tenant, with its project `default`."""
    problem = name_problem(name)
    if problem is not None:
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param="name")
    connection = change.connection
    if _tenant(connection, name) is not None:
        return Refusal(ErrorCode.CONFLICT, f"there is a tenant {name!r} already", param="name")
    if (connection.scalar(select(func.count()).select_from(TENANTS)) or 0) >= TENANTS_MAX:
        return Refusal(ErrorCode.CONFLICT, f"there are {TENANTS_MAX} tenants; no more are allowed")
    made = insert(TENANTS).values(name=name, created_s=change.now_s, changed=change.number)
    key = connection.execute(made).inserted_primary_key
    assert key is not None, "an insert of one row has a key"
    _insert_project(change, key[0], DEFAULT_NAME)
    change.note("tenant.create", name)
    return tenant_view(connection, name) or {}


def set_tenant(change: Change, name: str, *, disabled: bool) -> Row | Refusal:
    """Disable a tenant, so that none of its keys is good, or let it in again."""
    found = _tenant(change.connection, name)
    if found is None:
        return no_tenant(name)
    if (found["disabled_s"] is not None) != disabled:
        at_s = change.now_s if disabled else None
        change.connection.execute(
            update(TENANTS)
            .where(TENANTS.c.id == found["id"])
            .values(disabled_s=at_s, changed=change.number)
        )
        change.note("tenant.disable" if disabled else "tenant.enable", name)
    return tenant_view(change.connection, name) or {}


def create_project(change: Change, tenant: str, name: str) -> Row | Refusal:
    """Make a project of a tenant."""
    problem = name_problem(name)
    if problem is not None:
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param="name")
    owner = _tenant(change.connection, tenant)
    if owner is None:
        return no_tenant(tenant)
    if project_row(change.connection, tenant, name) is not None:
        because = f"the tenant {tenant!r} has a project {name!r} already"
        return Refusal(ErrorCode.CONFLICT, because, param="name")
    _insert_project(change, owner["id"], name)
    change.note("project.create", f"{tenant}/{name}")
    return project_views(change.connection, tenant, name)[0]


def set_project(change: Change, tenant: str, name: str, *, disabled: bool) -> Row | Refusal:
    """Disable a project, so that none of its keys is good, or let it in again."""
    found = project_row(change.connection, tenant, name)
    if found is None:
        return no_project(tenant, name)
    if (found["disabled_s"] is not None) != disabled:
        at_s = change.now_s if disabled else None
        change.connection.execute(
            update(PROJECTS)
            .where(PROJECTS.c.id == found["id"])
            .values(disabled_s=at_s, changed=change.number)
        )
        change.note("project.disable" if disabled else "project.enable", f"{tenant}/{name}")
    return project_views(change.connection, tenant, name)[0]


def _insert_project(change: Change, tenant_id: int, name: str) -> None:
    change.connection.execute(
        insert(PROJECTS).values(
            tenant_id=tenant_id, name=name, created_s=change.now_s, changed=change.number
        )
    )


def _tenant(connection: Connection, name: str) -> Any:
    return connection.execute(select(TENANTS).where(TENANTS.c.name == name)).mappings().first()


def project_row(connection: Connection, tenant: str, name: str) -> Any:
    """Return the row of a project; None where there is none."""
    wanted = select(PROJECTS).join(TENANTS).where(TENANTS.c.name == tenant, PROJECTS.c.name == name)
    return connection.execute(wanted).mappings().first()


def no_tenant(name: str) -> Refusal:
    """Say that there is no such tenant."""
    because = f"there is no tenant {name[:64]!r}; `helexa tenants list` tells which there are"
    return Refusal(ErrorCode.NOT_FOUND, because, param="tenant")


def no_project(tenant: str, name: str) -> Refusal:
    """Say that there is no such project."""
    because = (
        f"there is no project {name[:64]!r} of a tenant {tenant[:64]!r};"
        " `helexa projects list` tells which there are"
    )
    return Refusal(ErrorCode.NOT_FOUND, because, param="project")


def tenant_views(connection: Connection) -> list[Row]:
    """Return all tenants by name, with how many projects and keys each has."""
    keys = (
        select(PROJECTS.c.tenant_id, func.count(KEYS.c.id).label("key_count"),
               func.count(PROJECTS.c.id.distinct()).label("project_count"))
        .select_from(PROJECTS.outerjoin(KEYS))
        .group_by(PROJECTS.c.tenant_id)
        .subquery()
    )  # fmt: skip
    wanted = (
        select(TENANTS.c.name, TENANTS.c.created_s, TENANTS.c.disabled_s, keys.c.project_count,
               keys.c.key_count)
        .select_from(TENANTS.outerjoin(keys, keys.c.tenant_id == TENANTS.c.id))
        .order_by(TENANTS.c.name)
    )  # fmt: skip
    rows = connection.execute(wanted).mappings()
    return [{**row, "state": _state(row["disabled_s"])} for row in rows]


def tenant_view(connection: Connection, name: str) -> Row | None:
    """Return one tenant with its projects; None where there is none."""
    found = [each for each in tenant_views(connection) if each["name"] == name]
    return found[0] | {"projects": project_views(connection, name)} if found else None


def project_views(
    connection: Connection, tenant: str | None = None, name: str | None = None
) -> list[Row]:
    """Return projects, of all tenants or of one, or one project."""
    wanted = (
        select(TENANTS.c.name.label("tenant"), PROJECTS.c.name, PROJECTS.c.created_s,
               PROJECTS.c.disabled_s, TENANTS.c.disabled_s.label("tenant_disabled_s"))
        .join(TENANTS)
        .order_by(TENANTS.c.name, PROJECTS.c.name)
    )  # fmt: skip
    if tenant is not None:
        wanted = wanted.where(TENANTS.c.name == tenant)
    if name is not None:
        wanted = wanted.where(PROJECTS.c.name == name)
    views = []
    for row in connection.execute(wanted).mappings():
        view = dict(row)
        above_s = view.pop("tenant_disabled_s")
        views.append(view | {"state": _state(view["disabled_s"] or above_s)})
    return views


def _state(disabled_s: float | None) -> str:
    return "active" if disabled_s is None else "disabled"
