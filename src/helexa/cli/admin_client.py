"""The admin API of a cortex, as the command line uses it."""

from typing import Any

import click

from helexa.cli.http_client import HttpClient
from helexa.cli.telling import Telling

_HINT = "is a cortex running there? start one with `helexa up`, or name its socket with --admin"


class AdminClient:
    """The admin API at one socket (`host:port`) or base URL."""

    def __init__(self, admin: str, timeout_s: float = 5.0) -> None:
        base = admin if "://" in admin else f"http://{admin}"
        self._client = HttpClient(base, timeout_s=timeout_s, hint=_HINT, headers=_authorization())

    def get(self, path: str) -> Any:
        """Return the JSON at `path`; raises UnreachableError (exit 5) when nobody answers."""
        return self._client.get_json(path)

    def post(self, path: str, body: object) -> Any:
        """Change something and return the JSON of the answer; raises as `get`, and StatusError."""
        return self._client.post_json(path, body)


def _authorization() -> dict[str, str]:
    """Return the header with the key that this command line was given; none where it was not."""
    context = click.get_current_context(silent=True)
    telling = None if context is None else context.find_object(Telling)
    if telling is None or telling.admin_key_file is None:
        return {}
    from helexa.config.keys import read_foreign_key_file

    return {"authorization": f"Bearer {read_foreign_key_file(telling.admin_key_file)}"}
