"""The admin API of a cortex, as the command line uses it."""

from typing import Any

from helexa.cli.http_client import HttpClient

_HINT = "is a cortex running there? start one with `helexa up`, or name its socket with --admin"


class AdminClient:
    """The admin API at one socket (`host:port`) or base URL."""

    def __init__(self, admin: str, timeout_s: float = 5.0) -> None:
        base = admin if "://" in admin else f"http://{admin}"
        self._client = HttpClient(base, timeout_s=timeout_s, hint=_HINT)

    def get(self, path: str) -> Any:
        """Return the JSON at `path`; raises UnreachableError (exit 5) when nobody answers."""
        return self._client.get_json(path)

    def post(self, path: str, body: object) -> Any:
        """Change something and return the JSON of the answer; raises as `get`, and StatusError."""
        return self._client.post_json(path, body)
