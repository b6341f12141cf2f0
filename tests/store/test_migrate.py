"""The database's shape."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from helexa.config.store_url import location_of
from helexa.store.database import Database, open_database
from helexa.store.faults import StoreError
from helexa.store.migrate import migrate, require_shape, shape_of
from helexa.store.tables import METADATA


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(location_of(None, str(tmp_path)))


def test_an_empty_database_gets_this_versions_shape_once(database: Database) -> None:
    had, newest = shape_of(database)
    assert had is None
    with pytest.raises(StoreError) as caught:
        require_shape(database)
    assert caught.value.hint == "helexa store migrate"
    assert migrate(database) == (None, newest)
    assert migrate(database) == (newest, newest)
    require_shape(database)
    database.close()


def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    migrate(database)
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_a_database_of_a_newer_helexa_is_left_as_it_is(database: Database) -> None:
    migrate(database)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for work in (migrate, require_shape):
        with pytest.raises(StoreError, match="'9999', which this helexa does not know"):
            work(database)
    assert shape_of(database)[0] == "9999"
    database.close()


def test_a_migration_that_fails_leaves_the_old_shape(database: Database) -> None:
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE keys (x)"))
    with pytest.raises(StoreError):
        migrate(database)
    with database.reading() as connection:
        tables = connection.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert tables == ["keys"]
    database.close()
