"""Brings a database to the shape that this version of helexa uses (Alembic).

Everything is one transaction, so that a database has the old shape or the new one. Of two processes
that start at once, one waits for the other.
"""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from helexa.store.database import Database
from helexa.store.faults import StoreError

_FOLDER: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x68656C657861  # "helexa": the number of an advisory lock


def shape_of(database: Database) -> tuple[str | None, str]:
    """Return the revision that the database has (None: it is empty) and the one of this version."""
    with database.reading() as connection:
        return _has(connection), _newest()


def migrate(database: Database) -> tuple[str | None, str]:
    """Bring the database to this version's shape; return what it had and what it has now.

    Raises StoreError for a database of a newer helexa, which is left as it is.
    """
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        had, newest = _has(connection), _newest()
        _refuse_newer(had, database.where)
        if had != newest:
            command.upgrade(_config(connection), "head")
    return had, newest


def require_shape(database: Database) -> None:
    """Raise StoreError where the database has not this version's shape."""
    had, newest = shape_of(database)
    _refuse_newer(had, database.where)
    if had != newest:
        raise StoreError(
            f"the store {database.where} has revision {had or 'none'}; this helexa uses {newest}",
            error_id="HX-0340", hint="helexa store migrate",
        )  # fmt: skip


def _refuse_newer(had: str | None, where: str) -> None:
    known = {each.revision for each in ScriptDirectory(str(_FOLDER)).walk_revisions()}
    if had is not None and had not in known:
        raise StoreError(
            f"the store {where} has revision {had[:32]!r}, which this helexa does not know",
            error_id="HX-0341", hint="a newer helexa wrote it; run that one, or restore a backup",
        )  # fmt: skip


def _has(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _newest() -> str:
    newest = ScriptDirectory(str(_FOLDER)).get_current_head()
    assert newest is not None, "there is a first migration"
    return newest


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
