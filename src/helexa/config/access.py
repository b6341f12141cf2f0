"""The settings of a cortex about who may do what: callers' keys, their store, the admin API."""

from pathlib import Path
from typing import Literal

from helexa.config.shared import FilePath, PositiveSeconds, Settings
from helexa.config.sockets import ListenSocket, Socket
from helexa.config.store_url import Location, StoreUrl, location_of


class AdminSettings(Settings):
    """The operator's API: status and control. On loopback it asks nobody for a key."""

    socket: ListenSocket = Socket("127.0.0.1", 8040)
    """Where `helexa status` and other tools reach this cortex. Beyond loopback, with `[auth] kind =
    "store"`, it asks for a key with the scope `admin`, or `read` for what only reads."""
    require_key: bool = False
    """Ask for such a key on loopback, too."""
    allow_open: bool = False
    """Let other machines reach the admin API, and ask them for no key."""

    @property
    def asks_for_key(self) -> bool:
        """Whether it asks for a key where keys have scopes."""
        beyond = self.socket is not None and not self.socket.is_loopback
        return self.require_key or (beyond and not self.allow_open)


class AuthSettings(Settings):
    """Who may use the gateway."""

    kind: Literal["none", "keys_file", "store"] | None = None
    """`none`: callers are anonymous. `keys_file`: those with a key of that file. `store`: those
    with a key that `helexa keys create` made. Not set: `keys_file` where that is set, else
    `none`."""
    keys_file: FilePath | None = None
    """File with API keys, one a line (see docs)."""

    @property
    def chosen(self) -> Literal["none", "keys_file", "store"]:
        """The kind that is in force."""
        if self.kind is not None:
            return self.kind
        return "none" if self.keys_file is None else "keys_file"


class StoreSettings(Settings):
    """The database of tenants, keys and the audit log; used with `[auth] kind = "store"`."""

    url: StoreUrl = None
    """`postgresql://USER@HOST/DATABASE`, which several cortexes may share, or
    `sqlite:///absolute/path`. Not set: the file `store.db` in `state_dir`."""
    password_file: FilePath | None = None
    """File with the password for PostgreSQL, where it asks for one."""
    stale_max_s: PositiveSeconds = 600.0
    """While the database cannot be read, known keys stay good for this long; then 503."""

    def location(self, state_dir: Path) -> Location:
        """Return where the store is."""
        return location_of(self.url, str(state_dir))
