"""What databases say, told in words."""

import sqlite3

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from helexa.store.faults import is_damage, store_error


def sqlite_fault(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("as SQLite has it")
    error.sqlite_errorcode = code
    return error


def test_a_full_disk_is_told_with_what_to_do_also_when_sqlalchemy_wraps_it() -> None:
    bare = sqlite_fault(sqlite3.SQLITE_FULL)
    for error in (bare, OperationalError("INSERT", {}, bare)):
        told = store_error(error, "/x/store.db")
        assert told.message == "the store /x/store.db: the disk is full"
        assert "free some space" in told.hint


def test_the_kind_of_a_fault_counts_and_not_its_subkind() -> None:
    assert "locked" in store_error(sqlite_fault(sqlite3.SQLITE_BUSY_SNAPSHOT), "s").message
    assert is_damage(sqlite_fault(sqlite3.SQLITE_CORRUPT_VTAB))
    assert not is_damage(sqlite_fault(sqlite3.SQLITE_IOERR_READ))
    assert not is_damage(sqlite3.OperationalError("no code"))


def test_others_are_told_by_their_first_line() -> None:
    told = store_error(SQLAlchemyError("connection refused\nIs the server running?"), "pg")
    assert told.message == "the store pg: connection refused"
    assert "as SQLite has it" in store_error(sqlite_fault(99), "s").message
    assert "OSError: odd" in store_error(OSError("odd"), "s").message
