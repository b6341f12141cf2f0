"""The text of an API key: how it is made, read, hashed and compared. Pure.

    hlx_4x8fQm2LkZ7_w9…43 characters…Kd3fGh1a
        └ public id ┘└ 256-bit secret ┘└ checksum ┘

All parts are base 62, so that a double click selects the whole key. The public id may be shown and
logged. The checksum (CRC-32 of all before it) tells a typo from an unknown key where a person
asks; over HTTP both answer alike. What is kept of a key is SHA-256 over a random salt and the
text. A fast hash is right: the secret has 256 bits, so there is nothing to guess.
"""

import hashlib
import hmac
import zlib
from typing import Final

PREFIX: Final = "hlx_"
ID_BYTES: Final = 8
SECRET_BYTES: Final = 32
SALT_BYTES: Final = 16
ENTROPY_BYTES: Final = ID_BYTES + SECRET_BYTES + SALT_BYTES
_ID_CHARS: Final = 11
_SECRET_CHARS: Final = 43
_CHECK_CHARS: Final = 6
_ID_END: Final = len(PREFIX) + _ID_CHARS
KEY_CHARS: Final = _ID_END + 1 + _SECRET_CHARS + _CHECK_CHARS
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KNOWN: Final = frozenset(_DIGITS)


def new_key(entropy: bytes) -> tuple[str, bytes, str]:
    """Return the public id, the salt and the text of a key made of ENTROPY_BYTES random bytes."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a key takes {ENTROPY_BYTES} random bytes, not {len(entropy)}")
    secret_end = ID_BYTES + SECRET_BYTES
    key_id = _base62(int.from_bytes(entropy[:ID_BYTES], "big"), _ID_CHARS)
    secret = _base62(int.from_bytes(entropy[ID_BYTES:secret_end], "big"), _SECRET_CHARS)
    body = f"{PREFIX}{key_id}_{secret}"
    return key_id, entropy[secret_end:], body + _checksum(body)


def id_of(credential: bytes) -> str | None:
    """Return the public id in what a caller sent; None where it has not the shape of a key."""
    if len(credential) != KEY_CHARS or not credential.startswith(b"hlx_"):
        return None
    try:
        return credential[len(PREFIX) : _ID_END].decode("ascii")
    except UnicodeDecodeError:
        return None


def digest_of(salt: bytes, credential: bytes) -> bytes:
    """Return what is kept of a key: SHA-256 over its salt and its text, 32 bytes."""
    return hashlib.sha256(salt + credential).digest()


def matches(salt: bytes, digest: bytes, credential: bytes) -> bool:
    """Tell in constant time whether this is the key of that digest."""
    return hmac.compare_digest(digest, digest_of(salt, credential))


def problem_of(text: str) -> str | None:
    """Tell a person what is wrong with the text of a key by itself; None where nothing is."""
    if not text.startswith(PREFIX):
        return f"a key of this kind begins with {PREFIX}"
    if len(text) != KEY_CHARS:
        return f"it has {len(text)} characters, and a key has {KEY_CHARS}: copy the whole of it"
    strange = sorted({each for each in text[len(PREFIX) :] if each not in _KNOWN} - {"_"})
    if strange:
        return f"it has {strange[0]!r} in it; a key has only letters, digits and _"
    if text[-_CHECK_CHARS:] != _checksum(text[:-_CHECK_CHARS]):
        return "its checksum does not fit: a character is wrong or two are swapped"
    return None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)


def _base62(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
