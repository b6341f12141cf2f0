"""The table of error codes is part of the product: this test pins it."""

import json

from helexa.protocol.errors import CODES, ErrorCode, Refusal, envelope

PINNED = {
    "malformed_json": (400, None), "invalid_request_body": (400, None),
    "missing_model_field": (400, None), "context_length_exceeded": (400, None),
    "bad_request": (400, None), "invalid_api_key": (401, None), "permission_denied": (403, None),
    "model_not_found": (404, None), "route_not_found": (404, None),
    "not_found": (404, None),    "method_not_allowed": (405, None), "request_timeout": (408, None),
    "payload_too_large": (413, None), "unsupported_media_type": (415, None),
    "misdirected_request": (421, None),
    "expectation_failed": (417, None), "rate_limit_exceeded": (429, 2),
    "headers_too_large": (431, None), "internal_error": (500, None), "engine_crash": (502, None),
    "engine_garbage": (502, None), "not_supported": (501, None),
    "upstream_connection_error": (502, 2), "service_unavailable": (503, 5),
    "model_loading": (503, 5), "shutting_down": (503, 15), "upstream_timeout": (504, None),
}  # fmt: skip


def test_codes_their_statuses_and_retry_times_never_change_by_accident() -> None:
    """R3.11: error codes are a stable enumeration."""
    found = {code.value: (CODES[code].status, CODES[code].retry_after_s) for code in ErrorCode}
    assert found == PINNED


def test_the_envelope_is_openais() -> None:
    """R3.10: one envelope for every error."""
    refusal = Refusal(ErrorCode.MODEL_NOT_FOUND, 'no "x" here', param="model")
    body = json.loads(envelope(refusal, "req-1"))
    assert body == {
        "error": {
            "message": 'no "x" here',
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": "model",
            "request_id": "req-1",
        }
    }
    assert "request_id" not in json.loads(envelope(refusal))["error"]


def test_a_refusals_own_retry_time_beats_the_tables() -> None:
    assert Refusal(ErrorCode.MODEL_LOADING, "x").retry_after == 5
    assert Refusal(ErrorCode.MODEL_LOADING, "x", None, 9).retry_after == 9
    assert Refusal(ErrorCode.MALFORMED_JSON, "x").retry_after is None


def test_402_is_never_used_and_overload_is_429() -> None:
    assert all(rule.status != 402 for rule in CODES.values())
    assert CODES[ErrorCode.RATE_LIMIT_EXCEEDED].status == 429
