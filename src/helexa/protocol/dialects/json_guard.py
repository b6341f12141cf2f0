"""Bodies that are JSON to a parser and a weapon to a server: refused before anything is decoded.

Depth, digits, keys, duplicate fields and broken UTF-8 are bounded here, because the parsers behind
us differ in what they do with them: recursion, quadratic number parsing, first or last value wins.
Cheap checks run on every body; the exact one runs only where a cheap one found cause.
"""

import json
import re
from itertools import accumulate
from typing import Any, Final

DEPTH_MAX: Final = 64
DIGITS_MAX: Final = 64
KEYS_MAX: Final = 10_000
BRACKETS_MAX: Final = 200_000

_STRINGS: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# Digits become 1, opening brackets 2 and all else 0: then plain searches find what is looked for.
_KINDS: Final = bytes(
    1 if byte in b"0123456789" else 2 if byte in b"[{" else 0 for byte in range(256)
)
_DIGIT_RUN: Final = b"\x01" * (DIGITS_MAX + 1)
_NOT_BRACKETS: Final = re.compile(rb"[^\[\]{}]+")
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# Fields that routing, limits or billing act on: read by us and again by an engine.
_ONCE: Final = re.compile(
    rb'"(model|messages|stream|max_tokens|max_completion_tokens|n|prompt|input|stream_options'
    rb'|stop|tools|encoding_format)"\s*:'
)
# A letter (or `_`) that is written as an escape: nobody needs it, and a field's name in which one
# hides is the same name to a parser and another one to a search.
_HIDDEN_LETTER: Final = re.compile(rb"\\u00[4-7][0-9a-fA-F]")
# A key and its value take at least six bytes: `"a":1,`.
_KEYS_POSSIBLE_BYTES: Final = KEYS_MAX * 6


class _DuplicateKeyError(ValueError):
    pass


def problem_of(body: bytes) -> str | None:
    """Say why a JSON body is not accepted, or None where nothing speaks against it.

    It does not say that the body is valid JSON: decoding does.
    """
    kinds = body.translate(_KINDS)
    if kinds.count(2) > DEPTH_MAX and _depth(body) > DEPTH_MAX:
        return f"the JSON is nested deeper than {DEPTH_MAX} levels, or has too many containers"
    if _DIGIT_RUN in kinds and _DIGIT_RUN in _STRINGS.sub(b'""', body).translate(_KINDS):
        return f"a number has more than {DIGITS_MAX} characters"
    if len(body) > _KEYS_POSSIBLE_BYTES and _keys(body) > KEYS_MAX:
        return f"the JSON has more than {KEYS_MAX} keys"
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            return f"the body is not UTF-8 (byte {error.start})"
    names = _ONCE.findall(body)
    suspect = len(set(names)) < len(names) or _HIDDEN_LETTER.search(body) is not None
    if suspect and (twice := _duplicate(body)) is not None:
        return f"the key {twice!r} appears twice in one object"
    return None


def _depth(body: bytes) -> int:
    """Return the deepest nesting outside strings; a flood of brackets counts as too deep."""
    skeleton = _NOT_BRACKETS.sub(b"", _STRINGS.sub(b"", body))
    if len(skeleton) > BRACKETS_MAX:
        return DEPTH_MAX + 1
    return max(accumulate(map(_STEP.__getitem__, skeleton)), default=0)


def _keys(body: bytes) -> int:
    return len(re.findall(rb'"\s*:', _STRINGS.sub(b'"', body)))


def _duplicate(body: bytes) -> str | None:
    """Return a key that stands twice in one object, or None; exact, and only for suspects."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key[:100])
            seen.add(key)

    try:
        json.loads(body, object_pairs_hook=check, parse_int=len, parse_float=len)
    except _DuplicateKeyError as error:
        return str(error)
    except (ValueError, RecursionError):
        return None  # not JSON: the decoder will say so
    return None
