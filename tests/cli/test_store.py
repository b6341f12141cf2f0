"""`helexa store`."""

import json
from pathlib import Path

from tests.cli.conftest import Helexa


def test_a_store_is_made_checked_and_copied(helexa: Helexa, tmp_path: Path) -> None:
    here = ("--state-dir", str(tmp_path / "state"))
    missing = helexa("store", "check", *here)
    assert (missing.status, "there is no store" in missing.err) == (3, True)
    assert "has revision 0001; it had nothing" in helexa("store", "migrate", *here).out
    again = json.loads(helexa("store", "migrate", "-o", "json", *here).out)
    assert (again["had"], again["has"]) == ("0001", "0001")
    assert helexa("store", "check", *here).out.strip().endswith("is whole")
    copy = tmp_path / "copy" / "store.db"
    copy.parent.mkdir()
    assert helexa("store", "backup", str(copy), *here).status == 0
    assert helexa("store", "check", "--state-dir", str(copy.parent)).status == 0
    assert helexa("store", "backup", str(copy), *here).status == 1, "it exists already"


def test_a_damaged_store_is_exit_8_and_left_as_it_is(helexa: Helexa, tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database" * 100)
    ran = helexa("store", "check", "-o", "json", "--state-dir", str(tmp_path))
    assert (ran.status, len(json.loads(ran.out)["problems"])) == (8, 1)
    assert "restore a backup" in ran.err
    assert path.read_bytes() == b"no database" * 100


def test_the_store_of_a_config_is_meant(helexa: Helexa, tmp_path: Path) -> None:
    config = tmp_path / "cortex.toml"
    config.write_text(f'[store]\nurl = "sqlite://{tmp_path}/other.db"\n')
    ran = helexa("store", "migrate", "--config", str(config))
    assert ran.status == 0
    assert (tmp_path / "other.db").exists()
    config.write_text('[store]\nurl = "postgresql://me:pw@db/x"\n')
    wrong = helexa("store", "migrate", "--config", str(config))
    assert (wrong.status, "password_file" in wrong.err) == (78, True)
