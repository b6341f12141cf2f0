"""Keys judged by a frozen book."""

from pathlib import Path

import pytest

from helexa.protocol.ports import Principal, Scope
from helexa.store.key_book import Changes, KeyBook, Standing
from helexa.store.key_text import new_key
from helexa.store.tenants import create_project, create_tenant, set_project, set_tenant
from tests.fakes.stored import Stored


def test_a_key_is_known_by_its_text_and_tells_whose_it_is(tmp_path: Path) -> None:
    """R3.18, R3.24."""
    with Stored(tmp_path) as stored:
        stored.change(lambda change: create_tenant(change, "acme"))
        stored.change(lambda change: create_project(change, "acme", "search"))
        made = stored.key("ci", "acme", "search", [Scope.READ])
        book = stored.book()
    standing, key = book.judge(made["key"].encode(), 0.0)
    assert standing is Standing.GOOD
    assert key is not None
    assert book.principal_of(key) == Principal(
        key_id=made["id"],
        name="ci",
        tenant="acme",
        project="search",
        scopes=frozenset({Scope.READ}),
    )


def test_unknown_and_wrong_keys_are_told_apart_only_here(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key()
        book = stored.book()
    text = made["key"]
    wrong = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]
    assert book.judge(wrong.encode(), 0.0) == (Standing.WRONG, None)
    assert book.judge(new_key(bytes(56))[2].encode(), 0.0) == (Standing.UNKNOWN, None)
    for junk in (b"", b"x", b"\xff" * 65, b"' OR 1=1 --"):
        assert book.judge(junk, 0.0) == (Standing.UNKNOWN, None)
    assert KeyBook().judge(text.encode(), 0.0) == (Standing.UNKNOWN, None)


def test_a_key_stands_as_its_tenant_its_project_and_the_time_say(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key(live_s=60.0)
        text, now_s = made["key"].encode(), stored.now()

        def standing(at_s: float = now_s) -> Standing:
            return stored.book().judge(text, at_s)[0]

        assert standing() is Standing.GOOD
        assert standing(now_s + 59.9) is Standing.GOOD
        assert standing(now_s + 60.0) is Standing.EXPIRED
        for disable in (
            lambda change, off: set_tenant(change, "default", disabled=off),
            lambda change, off: set_project(change, "default", "default", disabled=off),
        ):
            stored.change(lambda change, set_it=disable: set_it(change, True))
            assert standing() is Standing.DISABLED
            stored.change(lambda change, set_it=disable: set_it(change, False))
            assert standing() is Standing.GOOD
        stored.revoke(made["id"])
        assert standing() is Standing.REVOKED


def test_a_book_after_changes_has_what_was_there_before(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        first = stored.key("one")
        before = stored.book()
        second = stored.key("two")
        after = stored.store.book_after(before)
        assert stored.store.book_after(after) is after
    assert set(before.keys) == {first["id"]}
    assert set(after.keys) == {first["id"], second["id"]}
    assert after.keys[first["id"]] is before.keys[first["id"]], "only what changed is read"
    assert after.generation == before.generation + 1


def test_a_book_cannot_be_changed() -> None:
    book = KeyBook().after(Changes(3))
    with pytest.raises(AttributeError):
        book.generation = 4  # type: ignore[misc]
