"""Static API keys, kept as SHA-256 digests: the first authenticator.

A fast hash is right here: the secrets are random, so there is no dictionary to try. A key is
looked up by its digest, so neither the lookup nor the comparison tells anything about a key.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import ANONYMOUS, Principal

_SCHEME: Final = b"bearer "


class ApiKey(Protocol):
    """A key as the configuration gives it."""

    @property
    def key_id(self) -> str:
        """Return its public id."""
        ...

    @property
    def name(self) -> str:
        """Return who it was given to."""
        ...

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 digest of the secret."""
        ...


def credential_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Return the caller's secret: `Authorization: Bearer …`, or `x-api-key`; None without one."""
    value = headers.get(b"authorization")
    if value is not None and value[:7].lower() == _SCHEME:
        return value[7:].strip()
    return headers.get(b"x-api-key")


class OpenDoor:
    """No keys are configured: everybody is anonymous, and whatever key they send is ignored."""

    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        """Let the caller in."""
        return ANONYMOUS


class StaticKeys:
    """Only holders of a configured key get in. Unknown, wrong and missing keys answer alike."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._by_digest = {
            key.digest: (key.digest, Principal(key_id=key.key_id, name=key.name)) for key in keys
        }

    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        """Resolve a key, or refuse with `invalid_api_key`."""
        digest = hashlib.sha256(credential or b"").digest()
        known = self._by_digest.get(digest)
        if credential and known is not None and hmac.compare_digest(known[0], digest):
            return known[1]
        because = "Incorrect or missing API key. Send it as 'Authorization: Bearer KEY'."
        return Refusal(ErrorCode.INVALID_API_KEY, because)
