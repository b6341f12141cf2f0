"""Where the store is: a SQLite file, or a PostgreSQL server. Pure.

A URL holds no password: URLs are shown, logged and written into files that others may read.
"""

import re
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator

FILE_NAME: Final = "store.db"
_SERVER: Final = re.compile(r"postgres(ql)?://[^\s]+\Z")


class Location(NamedTuple):
    """Exactly one of the two is set."""

    path: str = ""
    """Absolute path of a SQLite file."""
    url: str = ""
    """URL of a PostgreSQL server, without a password."""

    def __str__(self) -> str:
        return self.path or self.url


def location_of(url: str | None, state_dir: str) -> Location:
    """Read `[store] url`; without one it is `store.db` in the state folder. Raises ValueError."""
    if url is None:
        return Location(path=f"{state_dir}/{FILE_NAME}")
    if url.startswith("sqlite://"):
        path = url.removeprefix("sqlite://")
        if not path.startswith("/") or "?" in path or path.endswith("/"):
            raise ValueError("write sqlite:///absolute/path/of/store.db")
        return Location(path="/" + path.lstrip("/"))
    if not _SERVER.match(url):
        raise ValueError(
            "write postgresql://USER@HOST/DATABASE, or sqlite:///absolute/path/of/store.db"
        )
    server, slash, rest = url.partition("://")[2].partition("/")
    user, at, _ = server.rpartition("@")
    if (at and ":" in user) or "password=" in rest:
        raise ValueError("it may not carry a password; put that into store.password_file")
    return Location(url=f"postgresql://{server}{slash}{rest}")


def _checked(url: str | None) -> str | None:
    location_of(url, "")
    return url


StoreUrl = Annotated[str | None, AfterValidator(_checked)]
"""A URL that `location_of` can read, or None."""
