"""What an engine's error answer means for the caller, and whether the engine is to blame. Pure.

llama.cpp answers 5xx to mistakes of the caller (an image without a projector, an input longer than
its batch, a conversation that its template refuses). Counted as engine failures they would eject
healthy engines, so those are known by their text. A real failure of an engine is never told in
its own words: they may hold paths, addresses or other people's text.
"""

import re
from typing import Any, Final

import msgspec

from helexa.model_runtime.interfaces import Failure
from helexa.protocol.errors import ErrorCode

ERROR_BODY_BYTES_MAX: Final = 64 << 10
MESSAGE_CHARS_MAX: Final = 1000

_CALLERS_FAULT: Final = re.compile(
    r"parse_error|type_error|out_of_range|(image|audio|video|file) input is not supported"
    r"|mmproj|too large to process|tool_call|failed to parse|jinja|template|roles must"
    r"|(json|regex|pattern|grammar|schema).{0,80}(error|unrecognized|invalid|unsupported|fail)"
    r"|does not support|not supported|invalid (type|value|input)",
    re.IGNORECASE | re.DOTALL,
)
_TOO_LONG: Final = re.compile(
    r"exceed_context_size|exceeds? the available context|context size has been exceeded"
    r"|too large to process|maximum context length|max_model_len|longer than the maximum"
    r"|input_tokens|maximum model length",
    re.IGNORECASE,
)

_CODE_OF_STATUS: Final = {
    400: ErrorCode.INVALID_REQUEST_BODY,
    404: ErrorCode.NOT_SUPPORTED,
    405: ErrorCode.NOT_SUPPORTED,
    413: ErrorCode.PAYLOAD_TOO_LARGE,
    422: ErrorCode.INVALID_REQUEST_BODY,
    429: ErrorCode.RATE_LIMIT_EXCEEDED,
    501: ErrorCode.NOT_SUPPORTED,
    503: ErrorCode.MODEL_LOADING,
}
_HIDDEN: Final = {
    ErrorCode.MODEL_LOADING: "the model is being loaded",
    ErrorCode.RATE_LIMIT_EXCEEDED: "the engine has more requests than it can take now",
    ErrorCode.UPSTREAM_CONNECTION_ERROR: "the engine did not accept the neuron's key",
    ErrorCode.INTERNAL_ERROR: "the engine failed on this request",
}
GARBAGE: Final = Failure(ErrorCode.ENGINE_GARBAGE, "the engine's answer could not be understood")
CUT: Final = Failure(
    ErrorCode.UPSTREAM_CONNECTION_ERROR, "the connection to the engine was lost mid-answer"
)
UNFINISHED: Final = Failure(ErrorCode.ENGINE_CRASH, "the engine stopped before its answer was done")


def failure_of(status: int, body: bytes) -> Failure:
    """Return what an engine's error means; `body` is its answer, of any form, bounded."""
    if status < 400:
        return GARBAGE  # neither an answer nor an error: a redirect, or a 204 to a question
    message, kind = _told(body[:ERROR_BODY_BYTES_MAX])
    if status < 500 or status == 501 or _CALLERS_FAULT.search(message):
        if _TOO_LONG.search(kind) or _TOO_LONG.search(message):
            return Failure(ErrorCode.CONTEXT_LENGTH_EXCEEDED, message, blames_engine=False)
    elif _TOO_LONG.search(message):
        return Failure(ErrorCode.CONTEXT_LENGTH_EXCEEDED, message, blames_engine=False)
    if status in (401, 403):
        # The key is ours, so the caller is innocent: most likely somebody else has the port.
        return _hidden(ErrorCode.UPSTREAM_CONNECTION_ERROR, str(status))
    code = _CODE_OF_STATUS.get(status)
    if code in (ErrorCode.MODEL_LOADING, ErrorCode.RATE_LIMIT_EXCEEDED):
        return _hidden(code, f"{status}: {message}", blames_engine=False)
    if code is None and (status < 500 or _CALLERS_FAULT.search(message)):
        code = ErrorCode.INVALID_REQUEST_BODY
    if code is None:
        return _hidden(ErrorCode.INTERNAL_ERROR, f"{status}: {message or _excerpt(body)}")
    return Failure(code, message or "the engine refused the request", blames_engine=False)


def failure_of_event(payload: bytes) -> Failure:
    """Return what an error event inside a stream means; `payload` is the event's JSON."""
    try:
        error = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return GARBAGE
    inner = error.get("error", error) if isinstance(error, dict) else error
    status = inner.get("code") if isinstance(inner, dict) else None
    known = isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599
    return failure_of(int(status) if known and isinstance(status, int) else 500, payload)


def _hidden(code: ErrorCode, told: str, *, blames_engine: bool = True) -> Failure:
    return Failure(code, _HIDDEN[code], blames_engine, detail=f"the engine answered {told}")


def _excerpt(body: bytes) -> str:
    return body[:MESSAGE_CHARS_MAX].decode("utf-8", "backslashreplace")


def _told(body: bytes) -> tuple[str, str]:
    """Return the message and the type (or parameter) that an error body tells; "" if none."""
    try:
        error: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return "", ""
    if isinstance(error, dict) and "error" in error:
        error = error["error"]
    if not isinstance(error, dict):
        return (error[:MESSAGE_CHARS_MAX], "") if isinstance(error, str) else ("", "")
    message = error.get("message", error.get("detail"))
    kinds = [str(error[name]) for name in ("type", "param") if isinstance(error.get(name), str)]
    text = message if isinstance(message, str) else ""
    return text[:MESSAGE_CHARS_MAX], " ".join(kinds)[:MESSAGE_CHARS_MAX]
