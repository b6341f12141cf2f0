"""HTTP for the command line: one request at a time, standard library only, so it starts at once.

`helexa status` has to answer before aiohttp would be imported.
"""

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from helexa.config.sockets import Url, parse_url
from helexa.util.errors import HelexaError, UnreachableError, UsageError

ANSWER_BYTES_MAX: Final = 64 * 2**20
READ_BYTES: Final = 64 * 2**10


class StatusError(HelexaError):
    """The server answered with an error status."""

    def __init__(self, status: int, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message, error_id="HX-0702", hint=hint)
        self.status = status
        self.code = code
        self.exit_status = _EXIT_STATUS.get(status, 1)


_EXIT_STATUS: Final = {401: 4, 403: 4, 404: 3, 402: 6, 409: 6, 429: 6, 408: 7, 504: 7}


class HttpClient:
    """Requests to one server. Each request has a connection of its own."""

    def __init__(
        self,
        base: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        hint: str = "",
    ) -> None:
        try:
            self._url: Url = parse_url(base, ("http", "https"))
        except ValueError as error:
            raise UsageError(str(error), error_id="HX-0701") from None
        self._timeout_s = timeout_s
        self._headers = {"accept": "application/json", **(headers or {})}
        self._hint = hint

    @property
    def base(self) -> str:
        """The base URL, without a trailing slash."""
        return str(self._url)

    def get_json(self, path: str) -> Any:
        """Return the JSON that `path` answers; raises UnreachableError or StatusError."""
        with self._open("GET", path, None) as answer:
            return self._json(answer)

    def post_json(self, path: str, body: object) -> Any:
        """Send JSON and return the JSON of the answer; raises as `get_json`."""
        with self._open("POST", path, body) as answer:
            return self._json(answer)

    @contextlib.contextmanager
    def post_stream(self, path: str, body: object) -> Iterator[Iterator[bytes]]:
        """Send JSON; the block gets the answer's bytes as they arrive. Leaving it hangs up.

        Raises as `get_json`, and while reading `http.client.IncompleteRead` where it was cut.
        """
        with self._open("POST", path, body) as answer:
            yield self._pieces(answer)

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        with self._as_unreachable():
            while piece := answer.read1(READ_BYTES):
                yield piece

    @contextlib.contextmanager
    def _open(self, method: str, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        try:
            with self._as_unreachable():
                connection.request(method, self._url.path + path, data, headers)
                answer = connection.getresponse()
            # The answer keeps the socket where the server will close it; both must be closed.
            with contextlib.closing(answer):
                if answer.status >= 300:
                    with self._as_unreachable():
                        raise self._status_error(answer)
                yield answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        url = self._url
        if url.is_encrypted:
            return http.client.HTTPSConnection(
                url.host, url.port, timeout=self._timeout_s, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(url.host, url.port, timeout=self._timeout_s)

    @contextlib.contextmanager
    def _as_unreachable(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise UnreachableError(
                f"{self._url} did not answer within {self._timeout_s:g} s",
                error_id="HX-0703", hint=self._hint,
            ) from error  # fmt: skip
        except http.client.IncompleteRead:
            raise
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UnreachableError(
                f"cannot reach {self._url}: {reason}", error_id="HX-0703", hint=self._hint
            ) from error

    def _json(self, answer: http.client.HTTPResponse) -> Any:
        with self._as_unreachable():
            data = answer.read(ANSWER_BYTES_MAX + 1)
        if len(data) > ANSWER_BYTES_MAX:
            raise StatusError(answer.status, f"{self._url} answers more than {ANSWER_BYTES_MAX} B")
        try:
            return json.loads(data)
        except ValueError as error:
            raise StatusError(
                answer.status, f"{self._url} does not answer JSON; is this the right address?"
            ) from error

    def _status_error(self, answer: http.client.HTTPResponse) -> StatusError:
        text = answer.read(READ_BYTES).decode("utf-8", "replace")
        code = ""
        try:
            told = json.loads(text)
            told = told["error"] if isinstance(told, dict) and "error" in told else told
            message = str(told["message"]) if isinstance(told, dict) else str(told)
            code = str(told.get("code") or "") if isinstance(told, dict) else ""
        except (ValueError, KeyError, TypeError):
            message = text.strip()[:500] or answer.reason
        wait = answer.headers.get("retry-after")
        hint = f"try again in {wait} s" if wait else ""
        named = f"{answer.status} {code}".strip()
        return StatusError(answer.status, f"{self._url} answers {named}: {message}", code=code,
                           hint=hint)  # fmt: skip
