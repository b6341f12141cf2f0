"""`helexa keys`."""

import csv
import json
import stat
from pathlib import Path

import pytest

from helexa.store.key_text import KEY_CHARS
from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer


@pytest.fixture
def here(tmp_path: Path) -> tuple[str, ...]:
    return ("--offline", "--state-dir", str(tmp_path / "state"))


def test_a_key_alone_is_on_standard_output_so_that_a_script_can_take_it(
    helexa: Helexa, here: tuple[str, ...]
) -> None:
    ran = helexa("keys", "create", "alice", *here)
    assert (ran.status, len(ran.out.strip())) == (0, KEY_CHARS)
    assert "never again" in ran.err
    assert ran.out.strip() not in ran.err
    listed = helexa("keys", "list", *here).out
    assert ran.out.strip().split("_")[2] not in listed
    assert ran.out.strip().split("_")[1] in listed


def test_a_key_can_go_into_a_private_file_instead(
    helexa: Helexa, here: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "alice.key"
    ran = helexa("keys", "create", "alice", "--output-file", str(file), "-o", "json", *here)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().strip()) == KEY_CHARS
    assert "key" not in json.loads(ran.out)
    assert file.read_text().strip() not in ran.out + ran.err
    assert helexa("keys", "test", "--key-file", str(file), *here).status == 0


def test_a_key_says_what_it_is_for_and_how_long(helexa: Helexa, here: tuple[str, ...]) -> None:
    ran = helexa("keys", "create", "ops", "--scope", "read", "--scope", "admin", "--expires",
                 "90d", "-o", "json", *here)  # fmt: skip
    made = json.loads(ran.out)
    assert made["scopes"] == ["admin", "read"]
    assert made["expires_s"] - made["created_s"] == 90 * 86_400
    rows = list(csv.DictReader(helexa("keys", "list", "-o", "csv", *here).out.splitlines()))
    assert [(row["name"], row["scopes"], row["state"]) for row in rows] == [
        ("ops", "admin read", "good")
    ]
    assert helexa("keys", "create", "x", "--expires", "soon", *here).status == 2
    assert helexa("keys", "create", "x", "--scope", "root", *here).status == 2
    assert helexa("keys", "create", "x", "--tenant", "nobody", *here).status == 3


def test_rotating_revoking_and_testing(helexa: Helexa, here: tuple[str, ...]) -> None:
    old = json.loads(helexa("keys", "create", "alice", "-o", "json", *here).out)
    ran = helexa("keys", "rotate", old["id"], "--overlap", "1h", "-o", "json", *here)
    new = json.loads(ran.out)
    assert (new["replaces"], new["old_expires_s"] > old["created_s"]) == (old["id"], True)
    assert f"follows {old['id']}" in ran.err
    for key in (old, new):
        assert helexa("keys", "test", *here, given=key["key"] + "\n").status == 0
    told = helexa("keys", "revoke", old["id"], "--cause", "lost", *here)
    assert told.out.strip() == f"key {old['id']} of alice is revoked"
    tested = helexa("keys", "test", *here, given=old["key"])
    assert (tested.status, "the key is revoked" in tested.err) == (4, True)
    assert helexa("keys", "revoke", "nope", *here).status == 3
    assert helexa("keys", "rotate", old["id"], *here).status == 6


def test_a_typo_is_told_from_an_unknown_key(helexa: Helexa, here: tuple[str, ...]) -> None:
    made = helexa("keys", "create", "alice", *here).out.strip()
    typo = helexa("keys", "test", *here, given=made[:-1] + ("0" if made[-1] != "0" else "1"))
    assert "checksum" in typo.err
    unknown = "hlx_001IYT0XLWR_1u8QmlquE1rQpeqoulx6MZVGVGgufeog3UsDEHmrG2p4VNoEd"
    tested = helexa("keys", "test", "-o", "json", *here, given=unknown)
    assert (tested.status, json.loads(tested.out)["standing"]) == (4, "unknown")
    assert "unknown" in tested.err
    assert helexa("keys", "test", "--key-file", "/nothing/here", *here).status == 2


def test_a_running_cortex_is_asked_by_its_admin_api_with_the_key_that_was_given(
    helexa: Helexa, server: AnswerServer, tmp_path: Path
) -> None:
    key = tmp_path / "admin.key"
    key.write_text("hlx_admin\n")
    key.chmod(0o600)
    server["GET /api/v1/keys?tenant=acme&project=search"] = Answer({"keys": []})
    admin = ("--admin", f"127.0.0.1:{server.port}", "--admin-key-file", str(key))
    ran = helexa("keys", "list", "--project", "acme/search", *admin)
    assert (ran.status, ran.out.split()[0]) == (0, "ID")
    assert server.asked[-1].headers["authorization"] == "Bearer hlx_admin"
    key.chmod(0o644)
    assert helexa("keys", "list", *admin).status == 78
