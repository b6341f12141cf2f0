"""The text of a key."""

import hashlib
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.store.key_text import (
    ENTROPY_BYTES,
    KEY_CHARS,
    digest_of,
    id_of,
    matches,
    new_key,
    problem_of,
)

KEY_ID, SALT, TEXT = new_key(bytes(range(ENTROPY_BYTES)))


@given(st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES))
def test_every_key_has_the_same_shape_and_tells_its_id(entropy: bytes) -> None:
    key_id, salt, text = new_key(entropy)
    assert re.fullmatch(r"hlx_[0-9A-Za-z]{11}_[0-9A-Za-z]{49}", text)
    assert len(text) == KEY_CHARS
    assert id_of(text.encode()) == key_id
    assert problem_of(text) is None
    assert salt == entropy[-16:]


def test_a_key_never_changes_its_form_by_accident() -> None:
    """Keys that were given out must go on working."""
    assert TEXT == "hlx_001IYT0XLWR_1u8QmlquE1rQpeqoulx6MZVGVGgufeog3UsDEHmrG2p4VNoEd"
    assert digest_of(SALT, TEXT.encode()) == hashlib.sha256(SALT + TEXT.encode()).digest()


def test_different_bytes_make_different_keys() -> None:
    texts = {new_key(os.urandom(ENTROPY_BYTES))[2] for _ in range(200)}
    assert len(texts) == 200


def test_only_the_key_itself_matches_what_is_kept_of_it() -> None:
    """S05."""
    digest = digest_of(SALT, TEXT.encode())
    assert matches(SALT, digest, TEXT.encode())
    assert not matches(SALT, digest, TEXT.encode() + b"x")
    assert not matches(bytes(16), digest, TEXT.encode())
    assert TEXT.encode() not in digest


@given(st.integers(4, KEY_CHARS - 1), st.sampled_from("0aZ_ -ü"))
def test_a_typo_is_told(place: int, char: str) -> None:
    wrong = TEXT[:place] + char + TEXT[place + 1 :]
    assert (problem_of(wrong) is None) == (wrong == TEXT)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sk-proj-1234", "begins with hlx_"),
        (TEXT[:-1], f"{KEY_CHARS - 1} characters"),
        (TEXT + "x", "copy the whole of it"),
        (TEXT[:20] + "-" + TEXT[21:], "has '-' in it"),
        (TEXT[:20] + TEXT[21] + TEXT[20] + TEXT[22:], "checksum"),
    ],
)
def test_what_is_wrong_with_a_key_is_told(text: str, told: str) -> None:
    assert told in str(problem_of(text))


JUNK = [b"", b"hlx_", b"' OR 1=1 --", b"\xff" * KEY_CHARS, b"hlx_" + b"\xff" * (KEY_CHARS - 4)]


@pytest.mark.parametrize("credential", [*JUNK, b"x" * 10**6])
def test_what_has_not_the_shape_of_a_key_has_no_id(credential: bytes) -> None:
    assert id_of(credential) is None


def test_a_key_takes_all_of_its_random_bytes() -> None:
    with pytest.raises(ValueError, match="56 random bytes"):
        new_key(b"short")
