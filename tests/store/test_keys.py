"""Making, rotating, revoking keys."""

from pathlib import Path

import pytest
from sqlalchemy import text

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Scope
from helexa.store.key_book import Standing
from helexa.store.keys import create_key, key_views, standing_of
from tests.fakes.stored import INFERENCE, Stored


def test_the_text_of_a_key_is_in_its_makers_answer_and_nowhere_else(tmp_path: Path) -> None:
    """S05: dump the database: the secret is absent."""
    with Stored(tmp_path) as stored:
        made = stored.key()
        second = stored.rotate(made["id"])
        secrets = [each["key"].split("_")[2] for each in (made, second)]
        listed = stored.store.read(lambda connection: key_views(connection, 0.0))
        for table in ("keys", "audit"):
            rows = stored.store.read(lambda c, t=table: c.execute(text(f"SELECT * FROM {t}")).all())
            assert rows
            assert not any(secret in repr(rows) for secret in secrets)
        assert all("key" not in row and "digest" not in row for row in listed)
    for file in tmp_path.iterdir():
        assert not any(secret.encode() in file.read_bytes() for secret in secrets), file


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tenant": "nobody"}, ErrorCode.NOT_FOUND),
        ({"project": "nothing"}, ErrorCode.NOT_FOUND),
        ({"name": ""}, ErrorCode.INVALID_REQUEST_BODY),
        ({"name": "a\nb"}, ErrorCode.INVALID_REQUEST_BODY),
        ({"scopes": ()}, ErrorCode.INVALID_REQUEST_BODY),
        ({"live_s": 0.5}, ErrorCode.INVALID_REQUEST_BODY),
        ({"live_s": float("inf")}, ErrorCode.INVALID_REQUEST_BODY),
        ({"live_s": float("nan")}, ErrorCode.INVALID_REQUEST_BODY),
        ({"name": "'; DROP TABLE keys; --"}, None),
    ],
)
def test_a_key_that_cannot_be_made_changes_nothing(
    tmp_path: Path, changes: dict[str, object], code: ErrorCode | None
) -> None:
    with Stored(tmp_path) as stored:
        given = {"tenant": "default", "project": "default", "name": "alice", "scopes": INFERENCE,
                 "live_s": None, **changes}  # fmt: skip
        outcome = stored.change(lambda change: create_key(change, **given))
        count = len(stored.store.read(lambda connection: key_views(connection, 0.0)))
    assert (outcome.code if isinstance(outcome, Refusal) else None) == code
    assert count == (code is None)


def test_rotation_lets_both_keys_in_until_the_overlap_is_over(tmp_path: Path) -> None:
    """S12."""
    with Stored(tmp_path) as stored:
        old = stored.key(scopes=[Scope.READ, Scope.INFERENCE])
        new = stored.rotate(old["id"], overlap_s=60.0)
        book, now_s = stored.book(), stored.now()
    assert (new["replaces"], new["name"], new["scopes"]) == (
        old["id"], "alice", ["inference", "read"],
    )  # fmt: skip
    for at_s, standing in ((now_s + 59.0, Standing.GOOD), (now_s + 60.0, Standing.EXPIRED)):
        assert book.judge(old["key"].encode(), at_s)[0] is standing
        assert book.judge(new["key"].encode(), at_s)[0] is Standing.GOOD


def test_the_next_key_lives_as_long_as_the_old_one_was_made_for(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        old = stored.key(live_s=1000.0)
        stored.now.at_s += 900.0
        new = stored.rotate(old["id"], overlap_s=500.0)
        assert new["expires_s"] == stored.now() + 1000.0
        assert new["old_expires_s"] == old["expires_s"], "an overlap never makes a key live longer"
        assert stored.rotate(new["id"], live_s=5.0)["expires_s"] == stored.now() + 5.0


def test_a_dead_key_is_not_rotated_and_an_unknown_one_not_found(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        revoked, expired = stored.key("one"), stored.key("two", live_s=10.0)
        stored.revoke(revoked["id"])
        stored.now.at_s += 10.0
        for key in (revoked, expired):
            assert stored.rotate(key["id"]).code is ErrorCode.CONFLICT
        assert stored.rotate("nope").code is ErrorCode.NOT_FOUND
        assert stored.revoke("nope").code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("overlap_s", [-1.0, float("nan"), float("inf"), 1e12])
def test_an_overlap_is_a_length_of_time(tmp_path: Path, overlap_s: float) -> None:
    with Stored(tmp_path) as stored:
        outcome = stored.rotate(stored.key()["id"], overlap_s=overlap_s)
    assert outcome.code is ErrorCode.INVALID_REQUEST_BODY


def test_revoking_twice_keeps_the_first_time(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key()
        first = stored.revoke(made["id"])
        stored.now.at_s += 100.0
        assert stored.revoke(made["id"]) == first
    assert first["state"] == "revoked"


def test_how_a_key_stands_is_told_by_the_database_alone(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key()

        def standing(credential: str) -> tuple[Standing, str | None]:
            return stored.store.read(lambda c: standing_of(c, credential.encode(), stored.now()))

        assert standing(made["key"]) == (Standing.GOOD, made["id"])
        assert standing(made["key"][:-1] + "!") == (Standing.WRONG, None)
        assert standing("' OR 1=1 --") == (Standing.UNKNOWN, None)
        stored.revoke(made["id"])
        assert standing(made["key"]) == (Standing.REVOKED, made["id"])


def test_keys_are_listed_by_tenant_and_project(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.key("one")

        def names(**wanted: str) -> list[str]:
            found = stored.store.read(lambda c: key_views(c, stored.now(), **wanted))
            return [row["name"] for row in found]

        assert names() == names(tenant="default", project="default") == ["one"]
        assert names(tenant="other") == names(project="other") == []
