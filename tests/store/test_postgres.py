"""The store on a real PostgreSQL server; skipped where there is no server to start."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from helexa.config.store_url import location_of
from helexa.cortex.identity import Keeper
from helexa.protocol.errors import Refusal
from helexa.protocol.ports import Principal
from helexa.store.audit import audit_views
from helexa.store.database import open_database
from helexa.store.faults import StoreError
from helexa.store.key_book import Standing
from helexa.store.keys import create_key, revoke_key
from helexa.store.migrate import migrate
from helexa.store.store import Change
from helexa.store.tables import METADATA
from helexa.store.tenants import create_project, create_tenant, set_tenant
from helexa.store.upkeep import problems_of
from helexa.util.clock import SystemClock
from helexa.util.metrics import NoMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import recording_logger
from tests.fakes.postgres import PostgresServer, programs
from tests.fakes.stored import INFERENCE, Stored
from tests.fakes.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server is installed here")
    server = PostgresServer(bin_folder)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def url(server: PostgresServer) -> str:
    """Return an empty database that has been migrated."""
    database = open_database(location_of(server.url, ""))
    with database.writing() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    migrate(database)
    database.close()
    return server.url


def test_tenants_keys_and_audit_work_as_on_sqlite(url: str, tmp_path: Path) -> None:
    with Stored(tmp_path, url) as stored:
        stored.change(lambda change: create_tenant(change, "acme"))
        stored.change(lambda change: create_project(change, "acme", "search"))
        made = stored.key("ci", "acme", "search")
        new = stored.rotate(made["id"])
        stored.revoke(made["id"])
        book = stored.book()
        assert book.judge(made["key"].encode(), stored.now())[0] is Standing.REVOKED
        assert book.judge(new["key"].encode(), stored.now())[0] is Standing.GOOD
        stored.change(lambda change: set_tenant(change, "acme", disabled=True))
        book = stored.store.book_after(book)
        assert book.judge(new["key"].encode(), stored.now())[0] is Standing.DISABLED
        found = stored.store.read(lambda c: audit_views(c, 100, None, None))
        assert [each.action for each in reversed(found)] == [
            "tenant.create", "project.create", "key.create", "key.rotate", "key.revoke",
            "tenant.disable",
        ]  # fmt: skip
        assert problems_of(stored.store.database) == []


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit",
                                       "TRUNCATE audit"])  # fmt: skip
def test_nobody_alters_the_audit_log(url: str, tmp_path: Path, statement: str) -> None:
    with Stored(tmp_path, url) as stored:
        stored.key()
        with pytest.raises(StoreError, match="append-only"):
            stored.change(lambda change: change.connection.execute(text(statement)))


def test_the_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    database = open_database(location_of(url, ""))
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_a_server_is_migrated_by_the_command_alone(server: PostgresServer, tmp_path: Path) -> None:
    database = open_database(location_of(server.url, ""))
    with database.writing() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    with pytest.raises(StoreError) as caught:
        Stored(tmp_path, server.url)
    assert caught.value.hint == "helexa store migrate"
    other = open_database(location_of(server.url, ""))
    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(migrate, each).result for each in (database, other)]
        assert {had for had, _ in (each() for each in done)} == {None, "0001"}
    other.close()
    with Stored(tmp_path, server.url) as stored:
        assert len(stored.book().tenants) == 1
    database.close()


def test_changes_of_many_writers_are_in_one_order_and_a_reader_misses_none(
    url: str, tmp_path: Path
) -> None:
    def write() -> list[str]:
        with Stored(tmp_path, url) as stored:
            return [stored.key()["id"] for _ in range(20)]

    with Stored(tmp_path, url) as reader, ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write) for _ in range(4)]
        book = reader.book()
        while not all(each.done() for each in writing):
            book = reader.store.book_after(book)
        book = reader.store.book_after(book)
    made = {key_id for each in writing for key_id in each.result()}
    assert set(book.keys) == made
    assert book.generation == len(made) == 80


async def test_two_cortexes_share_it_and_live_through_its_restart(
    url: str, server: PostgresServer
) -> None:
    log: list[dict[str, object]] = []
    keepers = [
        Keeper(location_of(url, ""), None, SystemClock(), recording_logger(log), stale_max_s=60.0)
        for _ in range(2)
    ]
    one, two = keepers
    tasks = TaskScope(lambda _name, error: log.append({"event": "failed", "error": error}))

    def code(keeper: Keeper, key: str) -> str:
        answer = keeper.keys.authenticate(key.encode())
        return answer.code.value if isinstance(answer, Refusal) else answer.key_id

    def make(change: Change) -> Any:
        return create_key(change, "default", "default", "a", INFERENCE, None)

    for keeper in keepers:
        await keeper.open()
        keeper.start(tasks, NoMetrics())
    first, second = await one.change("me", "", make), await one.change("me", "", make)
    assert code(one, first["key"]) == first["id"]
    await until(lambda: code(two, first["key"]) == first["id"], "the other cortex knows it")
    server.stop()
    await until(lambda: two.keys.age_s > 2.5, "the store is missed")
    assert code(two, first["key"]) == first["id"], "a blip never turns a good key into a 401"
    assert code(two, "hlx_unknown") == "service_unavailable"
    with pytest.raises(StoreError):
        await one.change("me", "", make)
    server.start()
    await until(lambda: two.keys.age_s < 1.0 and one.keys.age_s < 1.0, "the store is back")
    await one.change("me", "", lambda change: revoke_key(change, second["id"]))
    await until(lambda: code(two, second["key"]) == "invalid_api_key", "revoked there, too")
    assert isinstance(two.keys.authenticate(first["key"].encode()), Principal)
    events = [line["event"] for line in log]
    assert events.count("store_unreachable") == events.count("store_reachable") == 2
    await tasks.close()
    for keeper in keepers:
        await keeper.close()
