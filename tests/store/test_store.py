"""Changes happen whole, one after another; books follow."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.store.key_book import KeyBook
from helexa.store.store import Change
from helexa.store.tenants import create_tenant, tenant_views
from helexa.store.upkeep import problems_of
from tests.fakes.stored import Stored


def test_a_refusal_and_an_exception_undo_everything(tmp_path: Path) -> None:
    refusal = Refusal(ErrorCode.CONFLICT, "no")

    def refused(change: Change) -> Refusal:
        create_tenant(change, "acme")
        return refusal

    def broken(change: Change) -> None:
        create_tenant(change, "acme")
        raise RuntimeError("a bug")

    with Stored(tmp_path) as stored:
        before = stored.book()
        assert stored.change(refused) is refusal
        with pytest.raises(RuntimeError, match="a bug"):
            stored.change(broken)
        assert len(stored.store.read(tenant_views)) == 1
        assert stored.store.book_after(before) is before


def test_two_stores_on_one_file_see_each_others_changes_in_one_order(tmp_path: Path) -> None:
    with Stored(tmp_path) as one, Stored(tmp_path) as two:
        book = two.book()
        numbers = []
        for stored in (one, two, one, two):
            stored.key()
            book = two.store.book_after(book)
            numbers.append(book.generation)
        assert len(book.keys) == 4
        assert numbers == [1, 2, 3, 4]
        assert one.book() == two.book()


def test_a_backup_put_back_is_read_anew(tmp_path: Path) -> None:
    """A smaller number is another database: what was known before does not hold."""
    with Stored(tmp_path) as stored:
        first = stored.key()
        stored.key()
        book = stored.book()
        stored.store.database.close()
        with stored.store.database.writing() as connection:
            connection.execute(text("DELETE FROM keys WHERE changed = 2"))
            connection.execute(text("UPDATE change_number SET number = 1"))
        assert set(stored.store.book_after(book).keys) == {first["id"]}


def test_an_empty_book_gets_everything(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.key()
        book = stored.store.book_after(KeyBook())
    assert (len(book.tenants), len(book.projects), len(book.keys)) == (1, 1, 1)


_CREATING = """
import sys
from pathlib import Path
from tests.fakes.stored import Stored
with Stored(Path(sys.argv[1])) as stored:
    while True:
        print(stored.key()["id"], flush=True)
"""


def test_kill_9_while_keys_are_made_leaves_none_half_there(tmp_path: Path) -> None:
    """Every key that was answered is there with its audit entry; each other one is whole or not."""
    shown: list[str] = []
    for round_number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", _CREATING, str(tmp_path)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(3 + 2 * round_number):
            shown.append(process.stdout.readline().strip())
        process.send_signal(signal.SIGKILL)
        shown += process.stdout.read().split()
        process.wait()
        process.stdout.close()
    with Stored(tmp_path) as stored:
        assert stored.store.database.set_aside == ""
        assert problems_of(stored.store.database) == []
        kept = set(stored.book().keys)
        noted = stored.store.read(
            lambda c: c.execute(text("SELECT subject FROM audit WHERE action = 'key.create'"))
            .scalars().all()
        )  # fmt: skip
    whole = {key_id for key_id in shown if len(key_id) == 11}
    assert whole <= kept
    assert sorted(noted) == sorted(kept)
