"""The proof by which a neuron shows that it holds the join token, without sending the token.

The neuron sends two headers with its websocket handshake:

    x-helexa-node: <node id>
    x-helexa-join: v1:<unix seconds>:<nonce, hex>:<HMAC-SHA256, hex>

The HMAC is keyed with the join token and covers `v1|<node id>|<unix seconds>|<nonce>`. A proof is
good for `WINDOW_S` either way of cortex's own date, for that node id only, and once: cortex keeps
the nonces it has seen in a `NonceMemory`. Pure: dates and nonces are arguments.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from enum import StrEnum
from typing import Final, NamedTuple

HEADER_PROOF: Final = "x-helexa-join"
HEADER_NODE: Final = "x-helexa-node"
CONTROL_PATH: Final = "/v1/neuron"

WINDOW_S: Final = 60
NONCE_HEX_CHARS: Final = 32
NONCES_MAX: Final = 65_536
CLOSE_NODE_ID_TAKEN: Final = 4409
"""Websocket close code: another neuron with this node id is connected."""
CLOSE_VERSION_MISMATCH: Final = 4406
"""Websocket close code: no protocol version is spoken by both sides."""

_SCHEME: Final = "v1"
_PROOF: Final = re.compile(r"v1:([0-9]{1,12}):([0-9a-f]{16,64}):([0-9a-f]{64})\Z")


class JoinProblem(StrEnum):
    """Why a proof was not accepted; the value is fit for a log line, not for the peer."""

    MISSING = "no join proof was sent"
    MALFORMED = "the join proof is not of the form v1:<seconds>:<nonce>:<hmac>"
    WRONG = "the join proof was not made with this token for this node id"
    STALE = "the join proof's date is too far from ours; compare the two machines' clocks"
    REPLAYED = "the join proof has been used before"


class JoinProof(NamedTuple):
    """A proof that was made with the right token in the right minute."""

    timestamp_s: int
    nonce: str


def make_proof(token: str, node_id: str, timestamp_s: int, nonce: str) -> str:
    """Return the value of the `x-helexa-join` header.

    `timestamp_s` is the date in unix seconds; `nonce` is 16 to 64 lower-case hex digits that are
    fresh for each attempt. Raises ValueError for a nonce of another form or an empty token.
    """
    if not token:
        raise ValueError("a join proof needs a token, and this one is empty")
    value = f"{_SCHEME}:{timestamp_s}:{nonce}:{_mac(token, node_id, str(timestamp_s), nonce)}"
    if _PROOF.match(value) is None:
        raise ValueError(f"nonce {nonce!r} is not 16 to 64 lower-case hex digits")
    return value


def check_proof(
    token: str, node_id: str, header: str | None, now_s: float
) -> JoinProof | JoinProblem:
    """Check an `x-helexa-join` header against the token; `now_s` is our date in unix seconds.

    The MAC is compared in constant time and before the date, so that the answer tells nothing to
    who does not hold the token. Whether the nonce is new is `NonceMemory`'s to say.
    """
    if not header:
        return JoinProblem.MISSING
    match = _PROOF.match(header)
    if match is None or not token:
        return JoinProblem.MALFORMED
    seconds, nonce, mac = match.groups()
    if not hmac.compare_digest(mac, _mac(token, node_id, seconds, nonce)):
        return JoinProblem.WRONG
    if abs(now_s - int(seconds)) > WINDOW_S:
        return JoinProblem.STALE
    return JoinProof(timestamp_s=int(seconds), nonce=nonce)


class NonceMemory:
    """The nonces of the last two windows, so that a captured handshake cannot be replayed.

    Bounded: past `capacity` the oldest are forgotten. Only nonces of good proofs are kept, so
    nobody without the token can push others out.
    """

    def __init__(self, capacity: int = NONCES_MAX) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, nonce: str, now_s: float) -> bool:
        """Remember a nonce; False if it was seen while a proof with it could still be good."""
        while self._seen:
            oldest, at_s = next(iter(self._seen.items()))
            if now_s - at_s <= 2 * WINDOW_S and len(self._seen) < self._capacity:
                break
            del self._seen[oldest]
        if nonce in self._seen:
            return False
        self._seen[nonce] = now_s
        return True


def _mac(token: str, node_id: str, seconds: str, nonce: str) -> str:
    message = f"{_SCHEME}|{node_id}|{seconds}|{nonce}".encode()
    return hmac.new(token.encode(), message, hashlib.sha256).hexdigest()
