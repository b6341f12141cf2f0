"""Looking after the database: is it whole, and a copy of it while it is used."""

import contextlib
import os
import sqlite3
from pathlib import Path

from sqlalchemy import select, text

from helexa.store.database import Database, damage_of
from helexa.store.faults import StoreError, store_error
from helexa.store.migrate import shape_of
from helexa.store.tables import KEYS, METADATA, PROJECTS, TENANTS

PROBLEMS_MAX = 20


def problems_of(database: Database) -> list[str]:
    """Return what is wrong with the database; nothing is changed. Raises StoreError."""
    damage = damage_of(Path(database.where)) if database.is_sqlite else None
    if damage is not None:
        return [damage]
    had, newest = shape_of(database)
    if had != newest:
        return [f"it has revision {had or 'none'}, and this helexa uses {newest}"]
    found: list[str] = []
    with database.reading() as connection:
        if database.is_sqlite:
            rows = connection.execute(text(f"PRAGMA integrity_check({PROBLEMS_MAX})"))
            found += [str(row[0]) for row in rows if row[0] != "ok"]
            for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(PROBLEMS_MAX):
                found.append(f"{row[0]} has a row that refers to a missing row of {row[2]}")
        for table in METADATA.sorted_tables:
            connection.execute(select(table).limit(1)).all()
        for child, parent, column in ((PROJECTS, TENANTS, "tenant_id"),
                                      (KEYS, PROJECTS, "project_id")):  # fmt: skip
            lone = select(child.c.id).where(child.c[column].not_in(select(parent.c.id)))
            for row in connection.execute(lone.limit(PROBLEMS_MAX)):
                found.append(f"{child.name} {row[0]} belongs to nothing in {parent.name}")
    return found[:PROBLEMS_MAX]


def back_up(database: Database, target: Path) -> None:
    """Copy a SQLite database, as it is at one moment, into a new private file, and check the copy.

    Raises StoreError; a half copy is not left behind.
    """
    if not database.is_sqlite:
        raise StoreError(
            f"the store {database.where} is on a server, which has its own tools for that",
            error_id="HX-0360", hint="pg_dump makes a backup of PostgreSQL",
        )  # fmt: skip
    partial = target.with_name(target.name + ".part")
    try:
        if target.exists():
            raise FileExistsError(17, "it exists already", str(target))
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        with (
            contextlib.closing(sqlite3.connect(database.where)) as source,
            contextlib.closing(sqlite3.connect(partial)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
            checked = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if checked != "ok":
            raise StoreError(f"the copy is damaged: {checked}", error_id="HX-0361")
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(target)
    except sqlite3.Error as error:
        raise store_error(error, database.where) from error
    except OSError as error:
        raise StoreError(
            f"cannot write the backup {target}: {error.strerror or error}", error_id="HX-0362",
            hint="name another file, on a disk with space",
        ) from error  # fmt: skip
    finally:
        partial.unlink(missing_ok=True)
