"""`helexa audit`."""

import csv
import json
from pathlib import Path

from tests.cli.conftest import Helexa


def test_who_changed_what_when_and_why(helexa: Helexa, tmp_path: Path) -> None:
    here = ("--offline", "--state-dir", str(tmp_path))
    helexa("tenants", "create", "acme", "--cause", "signed today", *here)
    made = json.loads(helexa("keys", "create", "ci", "--tenant", "acme", "-o", "json", *here).out)
    newest, first = json.loads(helexa("audit", "-o", "json", *here).out)
    assert (first["action"], first["subject"], first["cause"]) == (
        "tenant.create", "acme", "signed today",
    )  # fmt: skip
    assert first["actor"].startswith("offline (")
    assert (newest["action"], newest["subject"]) == ("key.create", made["id"])
    table = helexa("audit", "--subject", made["id"], *here).out.splitlines()
    assert len(table) == 2
    assert "name=ci tenant=acme" in table[1]
    rows = list(
        csv.DictReader(helexa("audit", "--limit", "1", "-o", "csv", *here).out.splitlines())
    )
    assert [row["action"] for row in rows] == ["key.create"]
    assert helexa("audit", "--before", "1", "-o", "json", *here).out.strip() == "[]"
    assert made["key"] not in helexa("audit", "-o", "json", *here).out
