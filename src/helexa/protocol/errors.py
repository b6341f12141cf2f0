"""The one table of error codes: what a caller is told, in which status, and whether to retry.

The envelope is OpenAI's: `{"error": {"message", "type", "code", "param"}}`. A refusal that may be
retried carries Retry-After in whole seconds; one that may not carries none. Overload is 429,
because clients retry a 503 up to thirty times; 503 says that capacity is not there.
"""

from enum import StrEnum
from typing import Final, NamedTuple

import msgspec


class ErrorCode(StrEnum):
    """Stable codes; a test pins them. Clients act on these, never on messages."""

    __hash__ = str.__hash__  # the inherited one is Python code, 0.3 µs a look-up

    MALFORMED_JSON = "malformed_json"
    INVALID_REQUEST_BODY = "invalid_request_body"
    MISSING_MODEL_FIELD = "missing_model_field"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    BAD_REQUEST = "bad_request"
    INVALID_API_KEY = "invalid_api_key"
    PERMISSION_DENIED = "permission_denied"
    MODEL_NOT_FOUND = "model_not_found"
    ROUTE_NOT_FOUND = "route_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    MISDIRECTED_REQUEST = "misdirected_request"
    EXPECTATION_FAILED = "expectation_failed"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    NOT_SUPPORTED = "not_supported"
    UPSTREAM_CONNECTION_ERROR = "upstream_connection_error"
    ENGINE_CRASH = "engine_crash"
    ENGINE_GARBAGE = "engine_garbage"
    SERVICE_UNAVAILABLE = "service_unavailable"
    MODEL_LOADING = "model_loading"
    SHUTTING_DOWN = "shutting_down"
    UPSTREAM_TIMEOUT = "upstream_timeout"


class CodeRule(NamedTuple):
    """How one code is told: HTTP status, OpenAI `type`, and seconds to wait before a retry."""

    status: int
    type: str
    retry_after_s: int | None
    text: str


_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"

CODES: Final[dict[ErrorCode, CodeRule]] = {
    ErrorCode.MALFORMED_JSON: CodeRule(400, _INVALID, None, "the body is not JSON"),
    ErrorCode.INVALID_REQUEST_BODY: CodeRule(
        400, _INVALID, None, "a field is missing or not allowed"
    ),
    ErrorCode.MISSING_MODEL_FIELD: CodeRule(
        400, _INVALID, None, "no model is named and none is the default"
    ),
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: CodeRule(
        400, _INVALID, None, "the prompt does not fit the model's context"
    ),
    ErrorCode.BAD_REQUEST: CodeRule(400, _INVALID, None, "the request is not valid HTTP"),
    ErrorCode.INVALID_API_KEY: CodeRule(
        401, "authentication_error", None, "the key is missing, unknown or revoked"
    ),
    ErrorCode.PERMISSION_DENIED: CodeRule(403, "permission_error", None, "the key may not do this"),
    ErrorCode.MODEL_NOT_FOUND: CodeRule(404, _INVALID, None, "no such model here"),
    ErrorCode.ROUTE_NOT_FOUND: CodeRule(404, _INVALID, None, "no such route"),
    ErrorCode.NOT_FOUND: CodeRule(404, _INVALID, None, "no such neuron or request here"),
    ErrorCode.METHOD_NOT_ALLOWED: CodeRule(405, _INVALID, None, "the route has other methods"),
    ErrorCode.REQUEST_TIMEOUT: CodeRule(408, _INVALID, None, "the request did not arrive in time"),
    ErrorCode.PAYLOAD_TOO_LARGE: CodeRule(413, _INVALID, None, "the body is larger than allowed"),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: CodeRule(
        415, _INVALID, None, "the body's type or coding is not accepted"
    ),
    ErrorCode.EXPECTATION_FAILED: CodeRule(
        417, _INVALID, None, "only 100-continue can be expected"
    ),
    ErrorCode.MISDIRECTED_REQUEST: CodeRule(
        421, _INVALID, None, "the Host header names another server"
    ),
    ErrorCode.RATE_LIMIT_EXCEEDED: CodeRule(
        429, "requests", 2, "more requests than can be taken now"
    ),
    ErrorCode.HEADERS_TOO_LARGE: CodeRule(
        431, _INVALID, None, "the request line or headers are too large"
    ),
    ErrorCode.INTERNAL_ERROR: CodeRule(500, _SERVER, None, "a fault of helexa"),
    ErrorCode.ENGINE_CRASH: CodeRule(
        502, _SERVER, None, "the engine died while it worked on the request"
    ),
    ErrorCode.ENGINE_GARBAGE: CodeRule(
        502, _SERVER, None, "the engine's answer could not be understood"
    ),
    ErrorCode.NOT_SUPPORTED: CodeRule(501, _INVALID, None, "the model's engine cannot do this"),
    ErrorCode.UPSTREAM_CONNECTION_ERROR: CodeRule(
        502, _SERVER, 2, "the connection to the model was lost"
    ),
    ErrorCode.SERVICE_UNAVAILABLE: CodeRule(
        503, _SERVER, 5, "nothing that can serve the model is up"
    ),
    ErrorCode.MODEL_LOADING: CodeRule(503, _SERVER, 5, "the model is being loaded"),
    ErrorCode.SHUTTING_DOWN: CodeRule(503, _SERVER, 15, "this server is stopping"),
    ErrorCode.UPSTREAM_TIMEOUT: CodeRule(504, _SERVER, None, "the model did not answer in time"),
}


class Refusal(msgspec.Struct, frozen=True):
    """An expected "no": a value that travels up to whoever answers the caller."""

    code: ErrorCode
    because: str
    param: str | None = None
    retry_after_s: int | None = None
    """Overrides the table's; None takes the table's."""

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return CODES[self.code].status

    @property
    def retry_after(self) -> int | None:
        """Seconds for the Retry-After header, or None where a retry cannot help."""
        return (
            self.retry_after_s if self.retry_after_s is not None else CODES[self.code].retry_after_s
        )


_encoder: Final = msgspec.json.Encoder()


def envelope(refusal: Refusal, request_id: str | None = None) -> bytes:
    """Return the OpenAI error body of a refusal, as JSON bytes."""
    error: dict[str, str | None] = {
        "message": refusal.because,
        "type": CODES[refusal.code].type,
        "code": refusal.code.value,
        "param": refusal.param,
    }
    if request_id:
        error["request_id"] = request_id
    return _encoder.encode({"error": error})
