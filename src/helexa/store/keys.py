"""Changes to keys, and how they are shown. Each change works on an open `Change`.

The text of a key is in the answer to its making and nowhere else. Keys are never deleted.
"""

import secrets
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, func, insert, select, update

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Scope
from helexa.store.key_book import Changes, KeyBook, Standing
from helexa.store.key_text import ENTROPY_BYTES, digest_of, id_of, new_key
from helexa.store.records import Key, Project, Tenant, label_problem, scopes_text
from helexa.store.store import Change, key_of
from helexa.store.tables import KEYS, PROJECTS, TENANTS
from helexa.store.tenants import Row, no_project, project_row

KEYS_MAX: Final = 1_000_000
LIVE_S_MAX: Final = 100 * 365 * 86_400.0


def create_key(
    change: Change,
    tenant: str,
    project: str,
    name: str,
    scopes: Iterable[Scope],
    live_s: float | None,
) -> Row | Refusal:
    """Make a key that is good for `live_s` (None: until it is revoked); its text is in `key`."""
    problem = label_problem(name)
    if problem is not None:
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, problem, param="name")
    owner = project_row(change.connection, tenant, project)
    if owner is None:
        return no_project(tenant, project)
    granted = frozenset(scopes)
    if not granted:
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, "a key has a scope", param="scopes")
    if live_s is not None and not 1.0 <= live_s <= LIVE_S_MAX:
        return _no_life(live_s)
    if (change.connection.scalar(select(func.count()).select_from(KEYS)) or 0) >= KEYS_MAX:
        return Refusal(ErrorCode.CONFLICT, f"there are {KEYS_MAX} keys; no more are allowed")
    expires_s = None if live_s is None else change.now_s + live_s
    made = _insert_key(change, owner["id"], name, granted, expires_s)
    change.note(
        "key.create", made["id"], name=name, tenant=tenant, project=project,
        scopes=scopes_text(granted), expires_s=expires_s,
    )  # fmt: skip
    return made


def rotate_key(
    change: Change, key_id: str, overlap_s: float, live_s: float | None
) -> Row | Refusal:
    """Make the key that follows another; both are good for `overlap_s`, then only the new one.

    The new key lives for `live_s`, or as long as the old one was made for.
    """
    if not 0.0 <= overlap_s <= LIVE_S_MAX:
        because = f"overlap_s is {overlap_s:g}; allowed: 0 to {LIVE_S_MAX:.0f} seconds"
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="overlap_s")
    if live_s is not None and not 1.0 <= live_s <= LIVE_S_MAX:
        return _no_life(live_s)
    old = _key(change.connection, key_id)
    if old is None:
        return no_key(key_id)
    expired = old.expires_s is not None and old.expires_s <= change.now_s
    if old.revoked_s is not None or expired:
        because = f"the key {key_id} is {'revoked' if old.revoked_s else 'expired'}; create another"
        return Refusal(ErrorCode.CONFLICT, because)
    if live_s is None and old.expires_s is not None:
        live_s = old.expires_s - old.created_s
    expires_s = None if live_s is None else change.now_s + live_s
    made = _insert_key(change, old.project_id, old.name, old.scopes, expires_s, key_id)
    ends_s = min(change.now_s + overlap_s, old.expires_s or float("inf"))
    change.connection.execute(
        update(KEYS).where(KEYS.c.id == key_id).values(expires_s=ends_s, changed=change.number)
    )
    change.note("key.rotate", key_id, by=made["id"], old_expires_s=ends_s, expires_s=expires_s)
    return made | {"old_expires_s": ends_s}


def revoke_key(change: Change, key_id: str) -> Row | Refusal:
    """Make a key no good for ever; one that is revoked already stays so."""
    old = _key(change.connection, key_id)
    if old is None:
        return no_key(key_id)
    if old.revoked_s is None:
        change.connection.execute(
            update(KEYS)
            .where(KEYS.c.id == key_id)
            .values(revoked_s=change.now_s, changed=change.number)
        )
        change.note("key.revoke", key_id, name=old.name)
    return key_views(change.connection, change.now_s, key_id=key_id)[0]


def _no_life(live_s: float) -> Refusal:
    because = f"live_s is {live_s:g}; allowed: 1 to {LIVE_S_MAX:.0f} seconds, or nothing"
    return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="live_s")


def _insert_key(
    change: Change,
    project_id: int,
    name: str,
    scopes: frozenset[Scope],
    expires_s: float | None,
    replaces: str | None = None,
) -> Row:
    key_id, salt, text = new_key(secrets.token_bytes(ENTROPY_BYTES))
    change.connection.execute(
        insert(KEYS).values(
            id=key_id,
            project_id=project_id,
            name=name,
            scopes=scopes_text(scopes),
            salt=salt,
            digest=digest_of(salt, text.encode()),
            created_s=change.now_s,
            created_by=change.actor,
            expires_s=expires_s,
            replaces=replaces,
            changed=change.number,
        )
    )
    return key_views(change.connection, change.now_s, key_id=key_id)[0] | {"key": text}


def _key(connection: Connection, key_id: str) -> Key | None:
    row = connection.execute(select(KEYS).where(KEYS.c.id == key_id)).mappings().first()
    return None if row is None else key_of(row)


def no_key(key_id: str) -> Refusal:
    """Say that there is no such key."""
    because = f"there is no key with the id {key_id[:32]!r}; `helexa keys list` tells the ids"
    return Refusal(ErrorCode.NOT_FOUND, because, param="id")


def key_views(
    connection: Connection,
    now_s: float,
    *,
    tenant: str | None = None,
    project: str | None = None,
    key_id: str | None = None,
) -> list[Row]:
    """Return keys without salt and digest, by tenant, project and age."""
    wanted = (
        select(KEYS.c.id, KEYS.c.name, TENANTS.c.name.label("tenant"),
               PROJECTS.c.name.label("project"), KEYS.c.scopes, KEYS.c.created_s,
               KEYS.c.created_by, KEYS.c.expires_s, KEYS.c.revoked_s, KEYS.c.replaces,
               TENANTS.c.disabled_s.label("t"), PROJECTS.c.disabled_s.label("p"))
        .join(PROJECTS, KEYS.c.project_id == PROJECTS.c.id)
        .join(TENANTS, PROJECTS.c.tenant_id == TENANTS.c.id)
        .order_by(TENANTS.c.name, PROJECTS.c.name, KEYS.c.created_s, KEYS.c.id)
    )  # fmt: skip
    for column, value in ((TENANTS.c.name, tenant), (PROJECTS.c.name, project)):
        if value is not None:
            wanted = wanted.where(column == value)
    if key_id is not None:
        wanted = wanted.where(KEYS.c.id == key_id)
    return [_key_view(dict(row), now_s) for row in connection.execute(wanted).mappings()]


def _key_view(view: Row, now_s: float) -> Row:
    closed_s = (view.pop("t"), view.pop("p"))
    view["scopes"] = view["scopes"].split(",")
    expires_s = view["expires_s"]
    if view["revoked_s"] is not None:
        state = "revoked"
    elif expires_s is not None and expires_s <= now_s:
        state = "expired"
    else:
        state = "good" if closed_s == (None, None) else "disabled"
    return view | {"state": state}


def standing_of(
    connection: Connection, credential: bytes, now_s: float
) -> tuple[Standing, str | None]:
    """Tell how a key stands in the database; its id only where the secret is its own."""
    key = _key(connection, id_of(credential) or "")
    if key is None:
        return Standing.UNKNOWN, None
    joined = select(PROJECTS, TENANTS).join(TENANTS).where(PROJECTS.c.id == key.project_id)
    row = connection.execute(joined).one()
    width = len(PROJECTS.c)
    project = Project(**dict(zip(PROJECTS.c.keys(), row[:width], strict=True)))
    tenant = Tenant(**dict(zip(TENANTS.c.keys(), row[width:], strict=True)))
    book = KeyBook().after(Changes(0, [tenant], [project], [key]))
    standing, found = book.judge(credential, now_s)
    return standing, None if found is None else found.id
