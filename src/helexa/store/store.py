"""The store: what is read and changed in it, each by one transaction.

It blocks, and is used by one thread at a time: in a cortex that is the one of `StoreThread`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, insert, select, update

from helexa.protocol.errors import Refusal
from helexa.store.database import Database
from helexa.store.key_book import Changes, KeyBook
from helexa.store.records import Key, Project, Tenant, scopes_of
from helexa.store.tables import AUDIT, CHANGE_NUMBER, KEYS, PROJECTS, TENANTS

T = TypeVar("T")
DETAIL_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Change:
    """One change while it is made: everything in it happens, or nothing."""

    connection: Connection
    number: int
    now_s: float
    actor: str
    cause: str

    def note(self, action: str, subject: str, **detail: Any) -> None:
        """Write a line of the audit log; `detail` holds no secret."""
        text = json.dumps(detail, separators=(",", ":"), ensure_ascii=True)
        assert len(text) <= DETAIL_BYTES_MAX, "an audit entry has a few short facts"
        self.connection.execute(
            insert(AUDIT).values(
                at_s=self.now_s, actor=self.actor, action=action, subject=subject,
                cause=self.cause, detail=text,
            )
        )  # fmt: skip


class Store:
    """A database whose shape is this version's. `wall` returns seconds since 1970."""

    def __init__(self, database: Database, wall: Callable[[], float]) -> None:
        self.database = database
        self._wall = wall

    def change(self, actor: str, cause: str, work: Callable[[Change], T | Refusal]) -> T | Refusal:
        """Make a change; a refusal undoes what `work` did. Raises StoreError."""
        with self.database.writing() as connection:
            # First of all, so that changes of several processes are made one after another.
            number = connection.scalar(
                update(CHANGE_NUMBER)
                .values(number=CHANGE_NUMBER.c.number + 1)
                .returning(CHANGE_NUMBER.c.number)
            )
            assert number is not None, "the migration put one row there"
            outcome = work(Change(connection, number, self._wall(), actor, cause))
            if isinstance(outcome, Refusal):
                connection.rollback()
            return outcome

    def read(self, work: Callable[[Connection], T]) -> T:
        """Read something at one moment. Raises StoreError."""
        with self.database.reading() as connection:
            return work(connection)

    def book_after(self, book: KeyBook) -> KeyBook:
        """Return the book as it is now; the very same one where nothing changed."""
        return self.read(lambda connection: _book_after(connection, book))

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def _book_after(connection: Connection, book: KeyBook) -> KeyBook:
    number = connection.scalar(select(CHANGE_NUMBER.c.number))
    assert number is not None, "the migration put one row there"
    if number == book.generation:
        return book
    # A smaller number is another database, such as a backup put back: nothing of before holds.
    seen = book if number > book.generation else KeyBook()
    since = seen.generation
    rows = [
        connection.execute(select(table).where(table.c.changed > since)).mappings().all()
        for table in (TENANTS, PROJECTS, KEYS)
    ]
    tenants, projects, keys = rows
    return seen.after(
        Changes(
            number,
            [Tenant(**row) for row in tenants],
            [Project(**row) for row in projects],
            [key_of(row) for row in keys],
        )
    )


def key_of(row: Any) -> Key:
    """Return a row of the table of keys as a value."""
    return Key(**{**row, "scopes": scopes_of(row["scopes"])})
