"""A keeper over a store in a folder of a test, opened, and short words to make keys with it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helexa.config.store_url import location_of
from helexa.cortex.identity import Keeper
from helexa.protocol.errors import Refusal
from helexa.protocol.ports import Scope
from helexa.store.keys import create_key, revoke_key
from helexa.util.clock import SystemClock
from tests.fakes.control_plane import recording_logger


def keeper_at(folder: Path, log: list[dict[str, Any]] | None = None) -> Keeper:
    """Return a keeper that is not opened yet."""
    logger = recording_logger([] if log is None else log)
    where = location_of(None, str(folder))
    return Keeper(where, None, SystemClock(), logger, stale_max_s=600.0)


def opened_keeper(folder: Path) -> Keeper:
    """Return a keeper that is open; for tests without an event loop of their own."""
    keeper = keeper_at(folder)
    asyncio.run(keeper.open())
    return keeper


async def make_key(keeper: Keeper, *scopes: Scope, live_s: float | None = None) -> dict[str, Any]:
    """Make a key and return its row with its text."""
    wanted: Iterable[Scope] = scopes or (Scope.INFERENCE,)
    made = await keeper.change(
        "tester", "", lambda c: create_key(c, "default", "default", "someone", wanted, live_s)
    )
    assert not isinstance(made, Refusal), made
    return dict(made)


async def revoke(keeper: Keeper, key_id: str) -> None:
    """Revoke a key."""
    await keeper.change("tester", "", lambda change: revoke_key(change, key_id))
