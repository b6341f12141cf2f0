"""JSON bombs are refused, and what only looks like one is not (reliability S22)."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects import json_guard

BOMBS = {
    "depth 65": b"[" * 65 + b"]" * 65,
    "depth 1,000": b"[" * 1_000,
    "depth 100,000": b'{"a":' * 100_000,
    "a number of 5,000 digits": b'{"a":' + b"9" * 5_000 + b"}",
    "a model twice": b'{"model":"a","model":"b"}',
    "a model twice, spaced": b'{"model" :"a", "x":[{"model":1}], "model"\n:"b"}',
    "10,001 keys": b"{" + b",".join(b'"k%d":1' % n for n in range(10_001)) + b"}",
    "a byte that is not UTF-8": b'{"a":"\xff"}',
    "a flood of brackets": b"[" + b",".join([b"[]"] * 200_000) + b"]",
    "a flood of texts": b"[" + b",".join([b'""'] * 1_000_002) + b"]",
    "a flood of numbers": b'{"input":[' + b",".join([b"1"] * 1_000_002) + b"]}",
    "a model twice, once in disguise": rb'{"model":"a","m\u006fdel":"b"}',
    "n twice, both in disguise": rb'{"\u006e":1,"x":[],"\u006E":2}',
    "a bound twice, with a disguised underscore": rb'{"max_tokens":1,"max\u005ftokens":2}',
    "depth 65 after a text that ends in a backslash": rb'{"a":"\\","b":' + b"[" * 65,
}
HARMLESS = {
    "depth 64": b"[" * 64 + b"]" * 64,
    "brackets in a string": json.dumps({"a": "[{" * 10_000}).encode(),
    "digits in a string": json.dumps({"a": "9" * 5_000, "b": 'quote " and \\ 1'}).encode(),
    "a model in a string": json.dumps({"model": "m", "text": '{"model": 1, "model": 2}'}).encode(),
    "a model in another object": b'{"model":"a","tools":[{"model":"b"}]}',
    "a disguised key that stands there once": rb'{"m\u006fdel":"a","n":1}',
    "brackets behind escapes": json.dumps({"a": '\\" ' + "[{" * 10_000}).encode(),
    "keys that differ by their escapes": rb'{"model":1,"a\"":1,"a\\":1,"a":[{"model":"\u0061"}]}',
    "many tokens": b'{"prompt":[' + b",".join([b"12345"] * 100_000) + b"]}",
    "text of the world": "{\"a\":\"é 漢 😀\"}".encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    assert json_guard.problem_of(BOMBS[name]) is not None


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_looks_like_a_bomb_is_not(name: str) -> None:
    assert json_guard.problem_of(HARMLESS[name]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5)
    ),
    max_leaves=40,
)  # fmt: skip


@given(value=JSON, ascii_only=st.booleans())
def test_ordinary_json_is_never_refused(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert json_guard.problem_of(body) is None


KEYS = st.sampled_from(["model", "n", "a", 'a"', "a\\", "a\\\\", "é"])
PAIRS = st.lists(st.tuples(KEYS, st.sampled_from(['"x"', "[]", "1", '{"n":{"n":2}}'])), max_size=6)


def _in_disguise(key: str) -> str:
    return '"' + "".join(f"\\u{ord(character):04x}" for character in key) + '"'


@given(pairs=PAIRS, disguised=st.lists(st.booleans(), min_size=6, max_size=6))
def test_fields_that_matter_are_never_there_twice(
    pairs: list[tuple[str, str]], disguised: list[bool]
) -> None:
    """The check reads no JSON; what a parser finds is what it has to find."""
    members = [
        (_in_disguise(key) if hide else json.dumps(key)) + ":" + value
        for (key, value), hide in zip(pairs, disguised, strict=False)
    ]
    keys = [key for key, _ in pairs]
    problem = json_guard.problem_of(("{" + ",".join(members) + "}").encode())
    if len(set(keys)) == len(keys):
        assert problem is None
    if any(keys.count(key) > 1 for key in ("model", "n")):
        assert problem is not None


@given(body=st.binary(max_size=300))
def test_any_bytes_get_an_answer(body: bytes) -> None:
    json_guard.problem_of(body)
