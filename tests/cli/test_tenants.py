"""`helexa tenants`."""

import json
from pathlib import Path

from tests.cli.conftest import Helexa


def test_tenants_are_made_listed_shown_and_disabled(helexa: Helexa, tmp_path: Path) -> None:
    here = ("--offline", "--state-dir", str(tmp_path))
    assert "tenant acme is made" in helexa("tenants", "create", "acme", *here).out
    helexa("keys", "create", "ci", "--tenant", "acme", *here)
    head, acme, default = helexa("tenants", "list", *here).out.splitlines()
    assert head.split() == ["NAME", "STATE", "PROJECTS", "KEYS", "CREATED"]
    assert acme.split()[:4] == ["acme", "active", "1", "1"]
    assert default.split()[:4] == ["default", "active", "1", "0"]
    disabled = helexa("tenants", "disable", "acme", "--cause", "unpaid", *here)
    assert disabled.out.strip() == "tenant acme is disabled"
    shown = helexa("tenants", "show", "acme", *here).out
    assert shown.count("disabled") == 3, "the tenant, its project, its key"
    told = json.loads(helexa("tenants", "show", "acme", "-o", "json", *here).out)
    assert [key["state"] for key in told["keys"]] == ["disabled"]
    back = helexa("tenants", "enable", "acme", "-o", "json", *here)
    assert json.loads(back.out)["state"] == "active"


def test_a_taken_name_is_exit_6_and_an_unknown_one_exit_3(helexa: Helexa, tmp_path: Path) -> None:
    here = ("--offline", "--state-dir", str(tmp_path))
    assert helexa("tenants", "create", "default", *here).status == 6
    assert helexa("tenants", "show", "nobody", *here).status == 3
    assert helexa("tenants", "create", "No Good", *here).status == 1


def test_csv_has_every_column(helexa: Helexa, tmp_path: Path) -> None:
    ran = helexa("tenants", "list", "-o", "csv", "--offline", "--state-dir", str(tmp_path))
    head, row = ran.out.splitlines()
    assert head == "name,state,project_count,key_count,created_s,disabled_s"
    assert row.startswith("default,active,1,0,")
