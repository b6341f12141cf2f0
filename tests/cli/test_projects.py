"""`helexa projects`."""

from pathlib import Path

import pytest

from helexa.cli.projects import parts_of
from helexa.util.errors import UsageError
from tests.cli.conftest import Helexa


def test_projects_are_made_listed_and_disabled(helexa: Helexa, tmp_path: Path) -> None:
    here = ("--offline", "--state-dir", str(tmp_path))
    assert helexa("projects", "create", "default/search", *here).status == 0
    listed = helexa("projects", "list", "--tenant", "default", *here).out.splitlines()
    assert [line.split()[1] for line in listed[1:]] == ["default", "search"]
    told = helexa("projects", "disable", "default/search", *here).out
    assert told.strip() == "project default/search is disabled"
    assert "is active" in helexa("projects", "enable", "default/search", *here).out
    assert helexa("projects", "disable", "default/nothing", *here).status == 3


@pytest.mark.parametrize("name", ["search", "/x", "x/", "a/b/c", ""])
def test_a_project_is_named_with_its_tenant(name: str) -> None:
    with pytest.raises(UsageError, match="TENANT/NAME"):
        parts_of(name)
