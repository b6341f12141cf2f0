"""A store in a folder of a test, with a clock that the test moves."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helexa.config.store_url import location_of
from helexa.protocol.errors import Refusal
from helexa.protocol.ports import Scope
from helexa.store.key_book import KeyBook
from helexa.store.keys import create_key, revoke_key, rotate_key
from helexa.store.opening import open_store
from helexa.store.store import Change, Store

INFERENCE = (Scope.INFERENCE,)


class Now:
    """Seconds, moved by hand."""

    def __init__(self, at_s: float = 1_000_000.0) -> None:
        self.at_s = at_s

    def __call__(self) -> float:
        return self.at_s


class Stored:
    """A store, and short words for what tests do with it. Use `close`, or it as a context."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.now = Now()
        self.location = location_of(url, str(folder))
        self.store: Store = open_store(self.location, None, self.now)

    def __enter__(self) -> "Stored":
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def change(self, work: Any) -> Any:
        """Make a change as `tester`."""
        return self.store.change("tester", "a test", work)

    def key(
        self,
        name: str = "alice",
        tenant: str = "default",
        project: str = "default",
        scopes: Iterable[Scope] = INFERENCE,
        live_s: float | None = None,
    ) -> dict[str, Any]:
        """Make a key, which must be allowed."""

        def work(change: Change) -> Any:
            return create_key(change, tenant, project, name, scopes, live_s)

        made = self.change(work)
        assert not isinstance(made, Refusal), made
        return dict(made)

    def rotate(self, key_id: str, overlap_s: float = 60.0, live_s: float | None = None) -> Any:
        """Rotate a key."""
        return self.change(lambda change: rotate_key(change, key_id, overlap_s, live_s))

    def revoke(self, key_id: str) -> Any:
        """Revoke a key."""
        return self.change(lambda change: revoke_key(change, key_id))

    def book(self) -> KeyBook:
        """Read every key."""
        return self.store.book_after(KeyBook())
