"""What goes wrong with a database, in words that say what to do."""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from helexa.util.errors import HelexaError, describe

_SQLITE: Final = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space; nothing was changed"),
    sqlite3.SQLITE_READONLY: (
        "it cannot be written (a read-only disk, or a file of another user)",
        "check the folder's mount, owner and permissions",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened", "check that its folder exists and is this user's own",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process keeps it locked", "try again; `fuser` tells which process has it open",
    ),
    sqlite3.SQLITE_IOERR: ("the disk fails", "look at the kernel's log; keep a backup at hand"),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged", "stop, restore a backup (`helexa store backup` makes them), start again",
    ),
    sqlite3.SQLITE_NOTADB: ("it is no database", "restore a backup, or name another file"),
}  # fmt: skip


class StoreError(HelexaError):
    """The database could not do what was asked; nothing was changed by it."""


def store_error(error: Exception, where: str) -> StoreError:
    """Return what to tell of an error of the database at `where`."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None)
        # The low byte is the kind of fault, the rest its cause.
        told = _SQLITE.get(code & 0xFF) if isinstance(code, int) else None
        what, hint = told or (str(cause), "")
        return StoreError(f"the store {where}: {what}", error_id="HX-0320", hint=hint)
    if isinstance(error, SQLAlchemyError):
        text = str(cause).strip().splitlines() or [type(cause).__name__]
        return StoreError(
            f"the store {where}: {text[0]}", error_id="HX-0321",
            hint="is the server up, and may this user use the database? see [store] url",
        )  # fmt: skip
    return StoreError(f"the store {where}: {describe(error)}", error_id="HX-0322")


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether SQLite found the file itself broken, not only out of reach."""
    code = getattr(error, "sqlite_errorcode", None)
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(code, int) and code & 0xFF in damage
