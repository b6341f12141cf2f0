"""What changes something by the admin API: one way in for every POST, and what it keeps out.

The API has no keys and listens on loopback, where any web page can send it requests. A page cannot
send `application/json` elsewhere without asking first, which nothing here allows; an `Origin` that
is not this very server is refused besides. A body is bounded, typed, and has no unknown fields.
Every write that is carried out is one line in the log, with its cause.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from helexa.cortex.orchestrator.events import Event
from helexa.protocol.errors import CODES, ErrorCode, Refusal, envelope

BODY_BYTES_MAX: Final = 1024 * 1024
BODY_S: Final = 10.0
LINE_CHARS_MAX: Final = 200
DEFAULT_CAUSE: Final = "admin API"
_HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

Json = dict[str, Any]


class WriteBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every write may say: why, for the log and for whoever asks later."""

    cause: str = DEFAULT_CAUSE
    lines: ClassVar[tuple[str, ...]] = ("cause",)
    """The fields that are shown and logged, and so must each be one short line."""


B = TypeVar("B", bound=WriteBody)


Change = Callable[[Mapping[str, str], B], tuple[Json, list[Event]] | Refusal]
"""Judges one write, from the path's parameters and the body: the answer, and the events that are
reported then. A refusal changes nothing."""


Keep = Callable[[], Awaitable[Json]]
"""Writes to the disk what was changed; returns what is told of that."""


def keeping(flush: Callable[[], Awaitable[str]]) -> Keep:
    """Return what tells whether a change outlives a crash of this cortex, which may come at once.

    `flush` writes what the control loop holds, and returns why it could not, if so.
    """

    async def keep() -> Json:
        await asyncio.sleep(0)  # the control loop applies what was reported within this turn
        because = await flush()
        return {"kept": False, "kept_because": because} if because else {"kept": True}

    return keep


def answer_json(value: object, status: int = 200) -> Response:
    """Return an answer that is neither cached nor sniffed."""
    return Response(msgspec.json.encode(value), status, _HEADERS, media_type="application/json")


def answer_refusal(refusal: Refusal) -> Response:
    """Return a refusal in the envelope of all errors."""
    headers = dict(_HEADERS)
    if refusal.retry_after is not None:
        headers["retry-after"] = str(refusal.retry_after)
    return Response(
        envelope(refusal), CODES[refusal.code].status, headers, media_type="application/json"
    )


class Writes:
    """Makes endpoints out of changes."""

    def __init__(self, report: Callable[[Event], None], logger: Any) -> None:
        self._report = report
        self._logger = logger

    def endpoint(
        self,
        body_type: type[B],
        change: Change[B],
        keep: Keep | None = None,
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint of one POST route, whose body is a `body_type`.

        `keep` is called after the change was reported; what it returns is told besides.
        """

        async def write(request: Request) -> Response:
            refusal = _foreign(request)
            body = await _read(request, body_type) if refusal is None else refusal
            outcome = body if isinstance(body, Refusal) else change(request.path_params, body)
            cause = "" if isinstance(body, Refusal) else body.cause
            self._log(request, cause, outcome)
            if isinstance(outcome, Refusal):
                return answer_refusal(outcome)
            for event in outcome[1]:
                self._report(event)
            kept = await keep() if keep is not None else {}
            return answer_json(outcome[0] | kept)

        return write

    def _log(self, request: Request, cause: str, outcome: object) -> None:
        fields = {"path": request.url.path[:200], "cause": cause}
        if request.client is not None:
            fields["peer"] = request.client.host
        if isinstance(outcome, Refusal):
            self._logger.warning("admin_write_refused", because=outcome.because, **fields)
        else:
            self._logger.info("admin_write", **fields)


def _foreign(request: Request) -> Refusal | None:
    """Refuse what a page of another origin sends; a program sends no Origin."""
    origins = request.headers.getlist("origin")
    host = request.headers.get("host", "")
    if all(origin in {f"http://{host}", f"https://{host}"} for origin in origins):
        return None
    return Refusal(
        ErrorCode.PERMISSION_DENIED,
        f"the page {origins[0][:100]!r} may not change this cortex; only its own pages"
        f" (http://{host}) and programs, which send no Origin, may",
    )


async def _read(request: Request, body_type: type[B]) -> B | Refusal:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        return Refusal(
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            f"content-type is {content_type[:100] or 'not given'}; a write is application/json",
        )
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                data += piece
                if len(data) > BODY_BYTES_MAX:
                    because = f"the body has more than {BODY_BYTES_MAX} bytes"
                    return Refusal(ErrorCode.PAYLOAD_TOO_LARGE, because)
    except TimeoutError:
        because = f"the body did not arrive within {BODY_S:g} s"
        return Refusal(ErrorCode.REQUEST_TIMEOUT, because)
    except ClientDisconnect:
        return Refusal(ErrorCode.REQUEST_TIMEOUT, "the caller left before its body had arrived")
    return _decoded(bytes(data), body_type)


def _decoded(data: bytes, body_type: type[B]) -> B | Refusal:
    allowed = ", ".join(field.encode_name for field in msgspec.structs.fields(body_type))
    try:
        body = msgspec.json.decode(data or b"{}", type=body_type)
    except msgspec.ValidationError as error:
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, f"{error}; the fields are: {allowed}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Refusal(ErrorCode.MALFORMED_JSON, f"the body is not JSON: {error}")
    for name in body.lines:
        line = getattr(body, name)
        if len(line) > LINE_CHARS_MAX or not line.isprintable():
            return Refusal(
                ErrorCode.INVALID_REQUEST_BODY,
                f"{name} is one line of at most {LINE_CHARS_MAX} printable characters",
                param=name,
            )
    return body
