"""Checking a database and copying it."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from helexa.config.store_url import Location
from helexa.store.database import open_database
from helexa.store.faults import StoreError
from helexa.store.upkeep import back_up, problems_of
from tests.fakes.stored import Stored


def test_a_whole_store_has_no_problems(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.key()
        assert problems_of(stored.store.database) == []


def test_rows_that_belong_to_nothing_and_old_shapes_are_told(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        stored.key()
        database = stored.store.database
        with database.engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("DELETE FROM projects")
            connection.exec_driver_sql("PRAGMA foreign_keys = ON")
            connection.exec_driver_sql("BEGIN")
        told = problems_of(database)
        assert any("refers to a missing row of projects" in each for each in told)
        with database.writing() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
        assert "revision none" in problems_of(database)[0]


def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"no database" * 100)
    database = open_database(Location(path=str(path)), mend=False)
    assert "not a database" in problems_of(database)[0]
    assert path.exists()
    database.close()


def test_a_backup_is_private_whole_and_has_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "backups" / "store.db"
    target.parent.mkdir()
    with Stored(tmp_path) as stored:
        made = stored.key()
        back_up(stored.store.database, target)
        stored.key()
    assert [each.name for each in target.parent.iterdir()] == ["store.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with Stored(target.parent) as copy:
        assert set(copy.book().keys) == {made["id"]}
        assert problems_of(copy.store.database) == []


def test_a_backup_never_overwrites_and_leaves_no_half(tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.write_text("precious")
    with Stored(tmp_path) as stored:
        for place in (target, tmp_path / "no" / "folder"):
            with pytest.raises(StoreError, match="cannot write the backup"):
                back_up(stored.store.database, place)
    assert target.read_text() == "precious"
    assert not list(tmp_path.glob("*.part"))


def test_a_server_has_its_own_tools() -> None:
    database = open_database(Location(url="postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(StoreError) as caught:
        back_up(database, Path("x"))
    assert "pg_dump" in caught.value.hint
    database.close()
