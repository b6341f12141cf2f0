"""The table of routes about tenants and keys, on an open store."""

from pathlib import Path
from typing import Any

import pytest

from helexa.cortex.admin.people import (
    AUDIT_ENTRIES_MAX,
    CHANGES,
    READS,
    KeyBody,
    NameBody,
    ProjectBody,
    RotateBody,
    TriedBody,
    key_standing,
)
from helexa.cortex.admin.writes import WriteBody
from helexa.protocol.errors import ErrorCode, Refusal
from tests.fakes.stored import Stored

BY_PATH: dict[str, Any] = {each.path.removeprefix("/api/v1/"): each for each in CHANGES}


def read(stored: Stored, path: str, **query: str) -> Any:
    (route,) = [each for each in READS if each.path == f"/api/v1/{path.partition('=')[0]}"]
    named = {"tenant": path.partition("=")[2]}
    return stored.store.read(lambda c: route.work(c, named, query, stored.now()))


def change(stored: Stored, path: str, body: WriteBody, **named: str) -> Any:
    route = BY_PATH[path]
    assert isinstance(body, route.body)
    return stored.change(lambda opened: route.work(opened, named, body))


def test_everything_can_be_made_seen_and_taken_away(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        change(stored, "tenants", NameBody(name="acme"))
        change(stored, "projects", ProjectBody(tenant="acme", name="search"))
        made = change(stored, "keys", KeyBody(name="ci", tenant="acme", project="search"))
        assert len(read(stored, "tenants")["tenants"]) == 2
        assert len(read(stored, "projects", tenant="acme")["projects"]) == 2
        assert [each["id"] for each in read(stored, "keys", tenant="acme")["keys"]] == [made["id"]]
        new = change(stored, "keys/{id}/rotate", RotateBody(), id=made["id"])
        assert new["replaces"] == made["id"]
        revoked = change(stored, "keys/{id}/revoke", WriteBody(), id=made["id"])
        assert revoked["state"] == "revoked"
        named = {"tenant": "acme", "project": "search"}
        for what, state in (("disable", "disabled"), ("enable", "active")):
            told = change(stored, f"tenants/{{tenant}}/{what}", WriteBody(), **named)
            assert told["state"] == state
            told = change(stored, f"projects/{{tenant}}/{{project}}/{what}", WriteBody(), **named)
            assert told["state"] == state
        assert len(read(stored, "audit")["entries"]) == 9


def test_one_tenant_is_read_by_its_name(tmp_path: Path) -> None:
    (route,) = [each for each in READS if each.path.endswith("{tenant}")]
    with Stored(tmp_path) as stored:
        for name, found in (("default", True), ("nobody", False)):
            told = stored.store.read(
                lambda c, name=name: route.work(c, {"tenant": name}, {}, stored.now())
            )
            assert isinstance(told, dict) is found


@pytest.mark.parametrize("query", [{"limit": "x"}, {"before": "-1"}, {"limit": "9" * 30}])
def test_a_number_that_is_none_is_the_callers_mistake(
    tmp_path: Path, query: dict[str, str]
) -> None:
    with Stored(tmp_path) as stored:
        told = read(stored, "audit", **query)
    assert isinstance(told, Refusal)
    assert told.code is ErrorCode.BAD_REQUEST


def test_the_audit_log_is_read_in_bounded_pieces(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        for _ in range(3):
            stored.key()
        assert len(read(stored, "audit", limit="2")["entries"]) == 2
        assert len(read(stored, "audit", limit=str(10 * AUDIT_ENTRIES_MAX))["entries"]) == 3
        assert read(stored, "audit", before="1")["entries"] == []


def test_a_key_is_tested_and_a_typo_told(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key()

        def test(text: str) -> Any:
            return stored.store.read(lambda c: key_standing(c, TriedBody(key=text), stored.now()))

        good = test(made["key"])
        assert (good["standing"], good["key"]["id"]) == ("good", made["id"])
        typo = test(made["key"][:-1] + ("0" if made["key"][-1] != "0" else "1"))
        assert (typo["standing"], typo["key"]) == ("not a key", None)
        assert "checksum" in typo["because"]
        stored.revoke(made["id"])
        assert test(made["key"])["standing"] == "revoked"
