"""A keeper keeps the book of keys fresh."""

import re
from pathlib import Path
from typing import Any

import pytest

from helexa.config.access import AuthSettings, StoreSettings
from helexa.config.cortex import CortexConfig
from helexa.config.store_url import Location
from helexa.cortex.identity import Keeper, keeper_of
from helexa.protocol.errors import Refusal
from helexa.store.faults import StoreError
from helexa.util.clock import SystemClock
from helexa.util.errors import ConfigError
from helexa.util.metrics import NoMetrics, PrometheusMetrics
from helexa.util.tasks import TaskScope
from tests.fakes.control_plane import recording_logger
from tests.fakes.kept import keeper_at, make_key, revoke
from tests.fakes.stored import Stored
from tests.fakes.waiting import until


def tasks_of(log: list[dict[str, Any]]) -> TaskScope:
    return TaskScope(lambda name, error: log.append({"event": "failed", name: error}))


def code(keeper: Keeper, key: str) -> str:
    answer = keeper.keys.authenticate(key.encode())
    return answer.code.value if isinstance(answer, Refusal) else answer.key_id


async def test_before_it_is_open_nothing_is_known_and_then_everything(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        made = stored.key()
    keeper = keeper_at(tmp_path)
    assert code(keeper, made["key"]) == "service_unavailable"
    await keeper.open()
    assert code(keeper, made["key"]) == made["id"]
    await keeper.close()


async def test_what_another_process_changes_is_known_here_soon(tmp_path: Path) -> None:
    """S10, across cortexes that share a store."""
    log: list[dict[str, Any]] = []
    tasks = tasks_of(log)
    one, two = keeper_at(tmp_path, log), keeper_at(tmp_path, log)
    for keeper in (one, two):
        await keeper.open()
        keeper.start(tasks, NoMetrics())
    made = await make_key(one)
    assert code(one, made["key"]) == made["id"]
    await until(lambda: code(two, made["key"]) == made["id"], "made there, known here")
    await revoke(two, made["id"])
    assert code(two, made["key"]) == "invalid_api_key"
    await until(lambda: code(one, made["key"]) == "invalid_api_key", "revoked there, too")
    await tasks.close()
    for keeper in (one, two):
        await keeper.close()
    assert log == []


async def test_a_store_that_fails_is_logged_once_and_its_return_too(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    tasks = tasks_of(log)
    keeper = keeper_at(tmp_path, log)
    await keeper.open()
    made = await make_key(keeper)

    def rename(old: str, new: str) -> Any:
        return lambda connection: connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    metrics = PrometheusMetrics()
    keeper.start(tasks, metrics)
    await keeper.read(rename("change_number", "away"))
    await until(lambda: keeper.keys.age_s > 1.0, "it cannot be read")
    assert re.search(rb"helexa_store_age_seconds [1-9]", metrics.render())
    assert code(keeper, made["key"]) == made["id"]
    await keeper.read(rename("away", "change_number"))
    await until(lambda: keeper.keys.age_s < 0.2, "it is read again")
    await until(lambda: len(log) == 2, "both are told")
    assert [line["event"] for line in log] == ["store_unreachable", "store_reachable"]
    await tasks.close()
    await keeper.close()


async def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    keeper = keeper_at(tmp_path)
    with pytest.raises(StoreError):
        await keeper.open()


async def test_a_server_that_is_not_there_is_waited_for(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    where = Location(url="postgresql://nobody@127.0.0.1:1/none")
    keeper = Keeper(where, None, SystemClock(), recording_logger(log), stale_max_s=60.0)
    await keeper.open()
    assert [line["event"] for line in log] == ["store_unreachable"]
    assert code(keeper, "hlx_x") == "service_unavailable"
    await keeper.close()


async def test_a_damaged_file_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    log: list[dict[str, Any]] = []
    keeper = keeper_at(tmp_path, log)
    await keeper.open()
    (line,) = log
    assert (line["event"], line["level"]) == ("store_set_aside", "error")
    assert "store.db.corrupt-1" in line["because"]
    assert "backup" in line["hint"]
    await keeper.close()


async def test_the_settings_say_where_and_with_which_password(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    url = "postgresql://me@127.0.0.1:1/x"
    config = CortexConfig(
        state_dir=tmp_path,
        auth=AuthSettings(kind="store"),
        store=StoreSettings(url=url, password_file=password),
    )
    keeper = keeper_of(config, SystemClock(), recording_logger([]))
    assert (keeper._location, keeper._password) == (Location(url=url), "hunter2")
    await keeper.close()
    password.chmod(0o644)
    with pytest.raises(ConfigError):
        keeper_of(config, SystemClock(), None)
