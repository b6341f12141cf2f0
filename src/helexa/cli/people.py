"""What the commands about tenants, projects, keys and the audit log share.

They ask a running cortex; with `--offline` they open its database themselves, which works beside a
running cortex, too.
"""

import contextlib
import getpass
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import click

from helexa.cli.admin_client import AdminClient
from helexa.cli.http_client import StatusError
from helexa.cli.options import (
    admin_option,
    config_option,
    debug_option,
    listing_output_option,
)
from helexa.protocol.errors import CODES, Refusal

if TYPE_CHECKING:
    from helexa.config.cortex import CortexConfig
    from helexa.store.store import Store

F = TypeVar("F", bound=Callable[..., Any])
Values = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Reach:
    """How the store is reached, as the options say."""

    admin: str
    offline: bool
    config_file: Path | None
    state_dir: str | None

    @contextlib.contextmanager
    def people(self) -> Iterator["People"]:
        """Give a client for as long as it is needed; raises HelexaError."""
        if not self.offline:
            yield OnlinePeople(AdminClient(self.admin))
            return
        with opened_store(self.config_file, self.state_dir) as store:
            yield OfflinePeople(store)


class People(Protocol):
    """Reads and changes of the store, by the paths of the admin API."""

    def get(self, path: str, query: Values) -> Any:
        """Return what `path` answers."""
        ...

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something and return the answer."""
        ...


class OnlinePeople:
    """The admin API of a running cortex."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client

    def get(self, path: str, query: Values) -> Any:
        """Return what `path` answers; raises StatusError, UnreachableError."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._client.get(path + (f"?{urlencode(given)}" if given else ""))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Change something; raises StatusError, UnreachableError."""
        return self._client.post(path, body)


class OfflinePeople:
    """The same routes on a database that is opened here."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    def get(self, path: str, query: Values) -> Any:
        """Return what `path` would answer; raises StatusError, StoreError."""
        from helexa.cortex.admin.people import READS
        from helexa.util.clock import SystemClock

        given = {name: value for name, value in query.items() if value is not None}
        for route in READS:
            named = _matched(route.path, path)
            if named is not None:
                now_s, work = SystemClock.wall(), route.work
                return _good(self._store.read(lambda opened: work(opened, named, given, now_s)))  # noqa: B023
        raise AssertionError(f"no command asks for {path}")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Make the change that `path` would make; raises StatusError, StoreError."""
        from helexa.cortex.admin.people import CHANGES, TEST_PATH, TriedBody, key_standing
        from helexa.cortex.admin.writes import decoded
        from helexa.util.clock import SystemClock

        if path == TEST_PATH:
            key, now_s = TriedBody(key=body["key"]), SystemClock.wall()
            return self._store.read(lambda connection: key_standing(connection, key, now_s))
        for route in CHANGES:
            named = _matched(route.path, path)
            if named is not None:
                read = decoded(json.dumps(body).encode(), route.body)
                if isinstance(read, Refusal):
                    return _good(read)
                actor, work = f"offline ({getpass.getuser()})", route.work
                return _good(
                    self._store.change(actor, read.cause, lambda opened: work(opened, named, read))  # noqa: B023
                )
        raise AssertionError(f"no command asks for {path}")


@contextlib.contextmanager
def opened_store(config_file: Path | None, state_dir: str | None) -> Iterator["Store"]:
    """Open the store that a cortex with these settings would use; raises HelexaError."""
    with opened_location(cortex_settings(config_file, state_dir)) as store:
        yield store


@contextlib.contextmanager
def opened_location(config: "CortexConfig") -> Iterator["Store"]:
    """Open the store that settings name, and tell of one that was set aside; raises HelexaError."""
    from helexa.config.keys import read_foreign_key_file
    from helexa.store.opening import open_store
    from helexa.util.clock import SystemClock

    file = config.store.password_file
    password = None if file is None else read_foreign_key_file(file)
    with contextlib.closing(
        open_store(config.store.location(config.state_dir), password, SystemClock.wall)
    ) as store:
        if store.database.set_aside:
            click.echo(f"warning: {store.database.set_aside}", err=True)
        yield store


def cortex_settings(config_file: Path | None, state_dir: str | None) -> "CortexConfig":
    """Return the settings of the cortex whose store is meant."""
    from helexa.cli.engines import engine_problems
    from helexa.config.load import Flag, load_cortex

    flags: dict[tuple[str, ...], Flag] = {}
    if state_dir is not None:
        flags["state_dir",] = Flag(state_dir, "--state-dir")
    return load_cortex(config_file, flags, engine_problems).config


def path_of(*parts: str) -> str:
    """Return a path of the admin API; names are quoted."""
    return "/".join(["/api/v1", *(quote(part, safe="") for part in parts)])


def _matched(template: str, path: str) -> dict[str, str] | None:
    from urllib.parse import unquote

    wanted, given = template.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    named = {}
    for want, part in zip(wanted, given, strict=True):
        if want.startswith("{"):
            named[want[1:-1]] = unquote(part)
        elif want != part:
            return None
    return named


def _good(outcome: Any) -> Any:
    if isinstance(outcome, Refusal):
        status = CODES[outcome.code].status
        raise StatusError(status, outcome.because, code=outcome.code.value)
    return outcome


# ── options ───────────────────────────────────────────────────────────────────────────────────

_offline_option = click.option(
    "--offline", is_flag=True,
    help="Open the database of --config or --state-dir itself, instead of asking a cortex.",
)  # fmt: skip
state_dir_option = click.option(
    "--state-dir", metavar="DIR", help="State folder of the cortex, for its database."
)
cause_option = click.option(
    "--cause", metavar="TEXT", default="helexa command line", show_default=True,
    help="Why, in one line, for the audit log.",
)  # fmt: skip


def reach_options(command: F) -> F:
    """Add the options by which the store is reached; `reach_of` reads them."""
    for option in (debug_option, listing_output_option, state_dir_option, config_option,
                   _offline_option, admin_option):  # fmt: skip
        command = option(command)
    return command


def reach_of(given: Mapping[str, Any]) -> Reach:
    """Return what the options of `reach_options` say."""
    return Reach(given["admin"], given["offline"], given["config_file"], given["state_dir"])
