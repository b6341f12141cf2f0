"""What the store holds, as values: tenants, their projects, their keys, the audit log. Pure.

Times are seconds since 1970-01-01 UTC. `changed` is the number of the change that wrote a row last:
changes are numbered one by one, so whoever has seen number n reads on from there.
"""

from typing import Any, Final

import msgspec

from helexa.protocol.ports import Scope

NAME_CHARS_MAX: Final = 64
DEFAULT_NAME: Final = "default"
"""The tenant, and the project of each tenant, that are there from the beginning."""
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
LABEL_CHARS_MAX: Final = 100


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has projects: a team, a customer. Disabled, none of its keys is good."""

    id: int
    name: str
    created_s: float
    disabled_s: float | None = None
    changed: int = 0


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant uses models for. Disabled, none of its keys is good."""

    id: int
    tenant_id: int
    name: str
    created_s: float
    disabled_s: float | None = None
    changed: int = 0


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, without its text. `id` is public."""

    id: str
    project_id: int
    name: str
    scopes: frozenset[Scope]
    salt: bytes
    digest: bytes
    created_s: float
    created_by: str
    expires_s: float | None = None
    revoked_s: float | None = None
    replaces: str | None = None
    """The key that this one was made to follow."""
    changed: int = 0


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who changed what, and when. Entries are added, never changed and never deleted."""

    id: int
    at_s: float
    actor: str
    action: str
    subject: str
    cause: str
    detail: dict[str, Any]


def name_problem(name: str) -> str | None:
    """Tell what is wrong with the name of a tenant or project; None where nothing is."""
    if 1 <= len(name) <= NAME_CHARS_MAX and set(name) <= _NAME and name[0].isalnum():
        return None
    return (
        f"{name[:NAME_CHARS_MAX]!r} is not a name: 1 to {NAME_CHARS_MAX} of a-z 0-9 - . _,"
        " beginning with a letter or digit"
    )


def label_problem(label: str) -> str | None:
    """Tell what is wrong with the name of a key, which is for people; None where nothing is."""
    if label.strip() == label and 1 <= len(label) <= LABEL_CHARS_MAX and label.isprintable():
        return None
    return f"a key's name is one line of 1 to {LABEL_CHARS_MAX} printable characters"


def scopes_text(scopes: frozenset[Scope]) -> str:
    """Return scopes as they are kept."""
    return ",".join(sorted(scope.value for scope in scopes))


def scopes_of(text: str) -> frozenset[Scope]:
    """Return what was kept; a scope that this version does not know grants nothing."""
    known = {scope.value: scope for scope in Scope}
    return frozenset(known[each] for each in text.split(",") if each in known)
