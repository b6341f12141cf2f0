"""Opens the database: SQLite with everything that keeps a file safe, or PostgreSQL.

A SQLite file is its owner's alone, is looked at before it is used, and one that is damaged is set
aside as NAME.corrupt-N, so that it costs its content and not the process. In WAL mode readers and
the writer do not wait for each other, and processes on one machine may share the file.
"""

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from helexa.config.store_url import Location
from helexa.store.faults import StoreError, is_damage, store_error

BUSY_S: Final = 5.0
CONNECT_S: Final = 3
STATEMENT_MS: Final = 5000
SET_ASIDE_MAX: Final = 5
_SIDE_FILES: Final = ("", "-wal", "-shm")
_WRITE: Final = "takes_write_lock"


@dataclass(frozen=True, slots=True)
class Database:
    """An open database."""

    engine: Engine
    where: str
    set_aside: str = ""
    """Empty, or why and where a damaged file was set aside; its keys are gone with it."""

    @property
    def is_sqlite(self) -> bool:
        """Tell whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database; raises StoreError."""
        with self._connected(write=False) as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes happen all or not at all; raises StoreError."""
        with self._connected(write=True) as connection:
            yield connection

    @contextlib.contextmanager
    def _connected(self, *, write: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect() as bare:
                connection = bare.execution_options(**{_WRITE: write})
                with connection.begin():
                    yield connection
        except (DBAPIError, PoolTimeoutError, sqlite3.Error) as error:
            raise store_error(error, self.where) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def open_database(
    location: Location, password: str | None = None, *, mend: bool = True
) -> Database:
    """Open the database; a server is not asked anything yet. Raises StoreError.

    A damaged file is set aside, unless `mend` is off.
    """
    if location.path:
        return _open_file(Path(location.path), mend=mend)
    url: URL = make_url(location.url).set(drivername="postgresql+psycopg")
    if password is not None:
        url = url.set(password=password)
    try:
        engine = create_engine(
            url,
            pool_size=1,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_S,
                "options": f"-c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}",
                "application_name": "helexa",
                # A database in SQL_ASCII would answer bytes otherwise.
                "client_encoding": "utf8",
            },
        )
    except ImportError as error:
        raise StoreError(
            f"the store {location} is on PostgreSQL, and its driver is not installed",
            error_id="HX-0330", hint="pip install 'helexa[postgres]'",
        ) from error  # fmt: skip
    return Database(engine, str(location))


# ── a file ────────────────────────────────────────────────────────────────────────────────────


def _open_file(path: Path, *, mend: bool) -> Database:
    told = ""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = damage_of(path) if mend else None
        if problem is not None:
            target = _set_aside(path)
            told = f"{path} is not used: {problem}; it is kept as {target.name}"
        _make_private(path)
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be used: {error.strerror or error}", error_id="HX-0331",
            hint="check the folder's mount, owner and permissions, and the space on its disk",
        ) from error  # fmt: skip
    except sqlite3.Error as error:
        raise store_error(error, str(path)) from error
    engine = create_engine(
        f"sqlite:///{path}",
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args={"timeout": BUSY_S, "isolation_level": None},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return Database(engine, str(path), told)


def damage_of(path: Path) -> str | None:
    """Return what is wrong with a file; None where it is whole, empty or not there."""
    if not path.exists():
        return None
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(0, "it is not a regular file", str(path))
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=BUSY_S)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return str(error)
    return None if found == ["ok"] else str(found[0]).replace("\n", " ")[:200]


def _make_private(path: Path) -> None:
    """Make the file, and what SQLite puts beside it, its owner's alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(path, flags, 0o600)
    except OSError:
        if not path.exists():
            raise
        return  # on a read-only disk it can still be read
    os.close(handle)
    for side in _SIDE_FILES:
        beside = path.with_name(path.name + side)
        if beside.exists() and stat.S_IMODE(beside.stat().st_mode) & 0o077:
            beside.chmod(0o600)


def _set_aside(path: Path) -> Path:
    prefix = path.name + ".corrupt-"
    taken = sorted(
        int(number)
        for number in (each.name[len(prefix) :] for each in path.parent.glob(f"{prefix}*"))
        if number.isdecimal()
    )
    number = taken[-1] + 1 if taken else 1
    for side in _SIDE_FILES:
        beside = path.with_name(path.name + side)
        if beside.exists():
            beside.rename(path.with_name(f"{prefix}{number}{side}"))
    for old in taken[: max(0, len(taken) + 1 - SET_ASIDE_MAX)]:
        for side in _SIDE_FILES:
            path.with_name(f"{prefix}{old}{side}").unlink(missing_ok=True)
    return path.with_name(f"{prefix}{number}")


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA foreign_keys = ON")
        # A key that was shown must be there after a power cut.
        cursor.execute("PRAGMA synchronous = FULL")
        with contextlib.suppress(sqlite3.OperationalError):  # a read-only disk
            cursor.execute("PRAGMA journal_mode = WAL")
    finally:
        cursor.close()


def _begin(connection: Connection) -> None:
    # A write takes its lock first: two that read before they write could only fail each other.
    write = connection.get_execution_options().get(_WRITE, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
