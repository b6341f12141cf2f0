"""The audit log: who, what, when; and nobody alters it."""

from pathlib import Path

import pytest
from sqlalchemy import text

from helexa.store.audit import audit_views
from helexa.store.faults import StoreError
from helexa.store.records import AuditEntry
from helexa.store.tenants import create_tenant, set_tenant
from tests.fakes.stored import Stored


def entries(stored: Stored, limit: int = 100, before: int | None = None,
            subject: str | None = None) -> list[AuditEntry]:  # fmt: skip
    return stored.store.read(lambda c: audit_views(c, limit, before, subject))


def test_every_change_is_written_down_with_who_what_when_and_why(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.change(lambda change: create_tenant(change, "acme"))
        key = stored.key("ci", "acme", live_s=60.0)
        follower = stored.rotate(key["id"])
        stored.revoke(key["id"])
        stored.change(lambda change: set_tenant(change, "acme", disabled=True))
        found = entries(stored)
    assert [each.action for each in reversed(found)] == [
        "tenant.create", "key.create", "key.rotate", "key.revoke", "tenant.disable",
    ]  # fmt: skip
    made = found[3]
    assert (made.actor, made.cause, made.at_s) == ("tester", "a test", 1_000_000.0)
    assert (made.subject, made.detail["tenant"]) == (key["id"], "acme")
    assert found[2].detail["by"] == follower["id"]


def test_what_changed_nothing_is_not_in_the_log(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.change(lambda change: create_tenant(change, "Bad Name"))
        stored.revoke("nope")
        stored.change(lambda change: set_tenant(change, "default", disabled=False))
        assert entries(stored) == []


def test_it_is_read_in_pieces_and_by_subject(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        for name in ("a", "b", "c"):
            stored.change(lambda change, name=name: create_tenant(change, name))
        newest = entries(stored, limit=1)
        assert [each.subject for each in newest] == ["c"]
        assert [each.subject for each in entries(stored, before=newest[0].id)] == ["b", "a"]
        assert [each.subject for each in entries(stored, subject="b")] == ["b"]


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"])
def test_nobody_alters_it(tmp_path: Path, statement: str) -> None:
    with Stored(tmp_path) as stored:
        stored.change(lambda change: create_tenant(change, "acme"))
        with pytest.raises(StoreError, match="append-only"):
            stored.change(lambda change: change.connection.execute(text(statement)))
        assert len(entries(stored)) == 1
