"""Who is calling."""

import hashlib
from dataclasses import dataclass

import pytest

from helexa.cortex.gateway.auth import OpenDoor, StaticKeys, credential_of
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import ANONYMOUS, Principal


@dataclass
class Key:
    key_id: str
    name: str
    secret: bytes

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.secret).digest()


KEYS = StaticKeys([Key("k1", "alice", b"s3cret"), Key("k2", "bob", b"other")])


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({b"authorization": b"Bearer s3cret"}, b"s3cret"),
        ({b"authorization": b"bearer  s3cret "}, b"s3cret"),
        ({b"x-api-key": b"s3cret"}, b"s3cret"),
        ({b"authorization": b"Basic s3cret"}, None),
        ({}, None),
    ],
)
def test_a_key_is_read_from_either_header(
    headers: dict[bytes, bytes], credential: bytes | None
) -> None:
    assert credential_of(headers) == credential


def test_a_key_opens_the_door_for_its_holder() -> None:
    assert KEYS.authenticate(b"s3cret") == Principal(key_id="k1", name="alice")
    assert KEYS.authenticate(b"other") == Principal(key_id="k2", name="bob")


@pytest.mark.parametrize("credential", [None, b"", b"wrong", b"k1", b"' OR 1=1 --", b"\xff" * 9000])
def test_everything_else_is_refused_alike(credential: bytes | None) -> None:
    refusal = KEYS.authenticate(credential)
    assert refusal == KEYS.authenticate(b"another wrong one")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.status) == (ErrorCode.INVALID_API_KEY, 401)


def test_without_keys_a_placeholder_key_is_ignored() -> None:
    """Common clients always send some key; it must not break an open gateway."""
    assert OpenDoor().authenticate(b"sk-placeholder") is ANONYMOUS


def test_no_secret_is_kept() -> None:
    assert b"s3cret" not in repr(vars(KEYS)).encode()
