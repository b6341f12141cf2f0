"""Making and disabling tenants and projects."""

from pathlib import Path

import pytest

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.store.tenants import (
    create_project,
    create_tenant,
    project_views,
    set_project,
    set_tenant,
    tenant_view,
    tenant_views,
)
from tests.fakes.stored import Stored


def test_there_is_a_tenant_from_the_beginning_so_that_a_key_needs_no_more(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        (tenant,) = stored.store.read(tenant_views)
        (project,) = stored.store.read(project_views)
    assert (tenant["name"], tenant["state"], tenant["key_count"]) == ("default", "active", 0)
    assert (project["tenant"], project["name"]) == ("default", "default")


def test_a_tenant_comes_with_a_project_and_counts_its_keys(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.change(lambda change: create_tenant(change, "acme"))
        assert [each["name"] for each in made["projects"]] == ["default"]
        project = stored.change(lambda change: create_project(change, "acme", "search"))
        assert (project["tenant"], project["name"]) == ("acme", "search")
        for _ in range(2):
            stored.key("ci", "acme", "search")
        found = stored.store.read(lambda connection: tenant_view(connection, "acme"))
    assert found is not None
    assert (found["project_count"], found["key_count"]) == (2, 2)


@pytest.mark.parametrize("name", ["acme", "Acme", "", "a/b", "'; DROP TABLE tenants; --"])
def test_a_name_is_taken_once_and_only_a_good_one(tmp_path: Path, name: str) -> None:
    with Stored(tmp_path) as stored:
        stored.change(lambda change: create_tenant(change, "acme"))
        outcome = stored.change(lambda change: create_tenant(change, name))
        assert len(stored.store.read(tenant_views)) == 2
        again = stored.change(lambda change: create_project(change, "acme", "default"))
        assert again.code is ErrorCode.CONFLICT
    assert isinstance(outcome, Refusal)
    wanted = ErrorCode.CONFLICT if name == "acme" else ErrorCode.INVALID_REQUEST_BODY
    assert outcome.code is wanted


def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        for work in (
            lambda change: set_tenant(change, "nobody", disabled=True),
            lambda change: create_project(change, "nobody", "x"),
            lambda change: set_project(change, "default", "nothing", disabled=True),
        ):
            assert stored.change(work).code is ErrorCode.NOT_FOUND
        assert stored.store.read(lambda connection: tenant_view(connection, "nobody")) is None


def test_disabling_twice_keeps_the_first_time_and_a_project_shows_its_tenants_state(
    tmp_path: Path,
) -> None:
    with Stored(tmp_path) as stored:
        first = stored.change(lambda change: set_tenant(change, "default", disabled=True))
        stored.now.at_s += 10.0
        again = stored.change(lambda change: set_tenant(change, "default", disabled=True))
        assert first == again
        assert first["projects"][0]["state"] == "disabled"
        back = stored.change(lambda change: set_tenant(change, "default", disabled=False))
    assert (back["state"], back["projects"][0]["state"]) == ("active", "active")
