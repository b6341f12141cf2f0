"""Every key that there is, as one frozen value: what a caller's key is judged by. Pure.

Requests read the last book that was published and never wait for the database. A book is made from
the one before it and the rows that changed since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from helexa.protocol.ports import Principal
from helexa.store.key_text import SALT_BYTES, id_of, matches
from helexa.store.records import Key, Project, Tenant

FOR_EVER_S: Final = float("inf")
_NO_SALT: Final = bytes(SALT_BYTES)
_NO_DIGEST: Final = bytes(32)


class Standing(StrEnum):
    """How a key stands. Callers over HTTP are told only whether it is good."""

    GOOD = "good"
    UNKNOWN = "unknown"
    WRONG = "wrong"
    REVOKED = "revoked"
    EXPIRED = "expired"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows that changed, and the number of the last change in them."""

    generation: int
    tenants: Sequence[Tenant] = ()
    projects: Sequence[Project] = ()
    keys: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class KeyBook:
    """All keys after change number `generation`."""

    generation: int = -1
    tenants: Mapping[int, Tenant] = field(default_factory=dict)
    projects: Mapping[int, Project] = field(default_factory=dict)
    keys: Mapping[str, Key] = field(default_factory=dict)

    def after(self, changes: Changes) -> "KeyBook":
        """Return the book with these changes in it."""
        return replace(
            self,
            generation=changes.generation,
            tenants={**self.tenants, **{each.id: each for each in changes.tenants}},
            projects={**self.projects, **{each.id: each for each in changes.projects}},
            keys={**self.keys, **{each.id: each for each in changes.keys}},
        )

    def judge(self, credential: bytes, now_s: float) -> tuple[Standing, Key | None]:
        """Tell how a caller's key stands; the key is returned only where the secret is its own.

        An unknown id costs as much as a wrong secret.
        """
        key = self.keys.get(id_of(credential) or "")
        if key is None:
            matches(_NO_SALT, _NO_DIGEST, credential)
            return Standing.UNKNOWN, None
        if not matches(key.salt, key.digest, credential):
            return Standing.WRONG, None
        return self.standing(key, now_s), key

    def standing(self, key: Key, now_s: float) -> Standing:
        """Tell how a key stands, its secret aside."""
        project = self.projects[key.project_id]
        tenant = self.tenants[project.tenant_id]
        if key.revoked_s is not None:
            return Standing.REVOKED
        if key.expires_s is not None and key.expires_s <= now_s:
            return Standing.EXPIRED
        if project.disabled_s is not None or tenant.disabled_s is not None:
            return Standing.DISABLED
        return Standing.GOOD

    def principal_of(self, key: Key) -> Principal:
        """Return who the holder of a key is."""
        project = self.projects[key.project_id]
        return Principal(
            key_id=key.id,
            name=key.name,
            tenant=self.tenants[project.tenant_id].name,
            project=project.name,
            scopes=key.scopes,
        )
