"""Opens a store, ready to be used: a file is brought to this version's shape, a server is not."""

from collections.abc import Callable

from helexa.config.store_url import Location
from helexa.store.database import open_database
from helexa.store.migrate import migrate, require_shape, shape_of
from helexa.store.store import Store


def open_store(location: Location, password: str | None, wall: Callable[[], float]) -> Store:
    """Open the store; raises StoreError where it cannot be used as it is.

    A server may belong to several cortexes of several versions: it is migrated by
    `helexa store migrate` alone.
    """
    database = open_database(location, password)
    try:
        if not database.is_sqlite:
            require_shape(database)
        else:
            had, newest = shape_of(database)
            if had != newest:
                migrate(database)
    except BaseException:
        database.close()
        raise
    return Store(database, wall)
