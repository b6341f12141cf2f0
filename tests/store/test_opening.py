"""A store is opened ready to be used."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helexa.config.store_url import Location, location_of
from helexa.store.database import open_database
from helexa.store.faults import StoreError
from helexa.store.migrate import migrate, shape_of
from helexa.store.opening import open_store
from tests.fakes.stored import Now, Stored


def test_a_file_is_made_and_brought_to_shape(tmp_path: Path) -> None:
    store = open_store(location_of(None, str(tmp_path)), None, Now())
    had, newest = shape_of(store.database)
    assert had == newest
    store.close()


def test_two_that_open_a_new_file_at_once_both_get_it(tmp_path: Path) -> None:
    where = location_of(None, str(tmp_path))
    with ThreadPoolExecutor(4) as threads:
        stores = [each.result() for each in [threads.submit(open_store, where, None, Now())
                                             for _ in range(4)]]  # fmt: skip
    for store in stores:
        store.close()
    with Stored(tmp_path) as stored:
        assert len(stored.book().tenants) == 1


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(StoreError):
        open_store(Location(url="postgresql://nobody@127.0.0.1:1/none"), None, Now())


def test_a_file_of_the_right_shape_is_opened_without_writing(tmp_path: Path) -> None:
    where = location_of(None, str(tmp_path))
    database = open_database(where)
    migrate(database)
    with database.writing():  # somebody else writes meanwhile
        open_store(where, None, Now()).close()
    database.close()
