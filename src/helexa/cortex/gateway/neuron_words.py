"""What a neuron says at the head and at the end of an answer, read without trust. Pure."""

from dataclasses import dataclass
from typing import Final

import msgspec

from helexa.cortex.gateway.edge.response import BODILESS
from helexa.cortex.gateway.headers import relayed_lines
from helexa.cortex.gateway.metering import Outcome, outcome_of_status
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.inference import Reset, ResponseHead, Trailer

ANSWER_HEADS_MAX: Final = 64
MESSAGE_CHARS_MAX: Final = 1000
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What the decoders raise on bytes that are not what they should be."""
_head_decoder: Final = msgspec.json.Decoder(ResponseHead)
_trailer_decoder: Final = msgspec.json.Decoder(Trailer)
_reset_decoder: Final = msgspec.json.Decoder(Reset)
_encoder: Final = msgspec.json.Encoder()
CANCELLED: Final = _encoder.encode(Reset(code="cancelled", message="the caller is gone"))
EXPIRED: Final = _encoder.encode(Reset(code="cancelled", message="the gateway waited long enough"))


def read_head(payload: bytes) -> ResponseHead | str:
    """Return the head of an answer, or what is wrong with it."""
    try:
        response = _head_decoder.decode(payload)
    except _UNREADABLE:
        return "its head is not readable"
    if not 200 <= response.status < 600:
        return f"a head with status {response.status!s:.20} has no place here"
    if response.status in BODILESS:
        return f"an answer with status {response.status} has no body"
    return response


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of a whole answer, and what follows from it alone."""

    status: int
    lines: bytes
    """The header lines that the caller gets of it."""
    outcome: Outcome


class AnswerHeads(dict[bytes, AnswerHead | None]):
    """Heads of whole answers as neurons wrote them: nearly all are the same few.

    None for one that is not as it should be: it is looked at with care.
    """

    def __missing__(self, payload: bytes) -> AnswerHead | None:
        response = read_head(payload)
        if isinstance(response, str):
            return None
        status = response.status
        lines = relayed_lines(response.content_type, response.retry_after_s)
        known = AnswerHead(status, lines, outcome_of_status(status))
        if len(self) < ANSWER_HEADS_MAX:
            self[payload] = known
        return known


def read_trailer(payload: bytes) -> Trailer | None:
    """Return the numbers of an answer; None where there are none to be read."""
    try:
        return _trailer_decoder.decode(payload) if payload else None
    except _UNREADABLE:
        return None


def read_reset(payload: bytes) -> tuple[Reset, Refusal]:
    """Return why an answer was given up, as it was told and as a caller may be told."""
    try:
        reset = _reset_decoder.decode(payload)
    except _UNREADABLE:
        reset = Reset(code=ErrorCode.UPSTREAM_CONNECTION_ERROR.value)
    try:
        code = ErrorCode(reset.code)
    except ValueError:
        code = ErrorCode.UPSTREAM_CONNECTION_ERROR
    message = (reset.message or code.value)[:MESSAGE_CHARS_MAX]
    return reset, Refusal(code, message, None, reset.retry_after_s)
