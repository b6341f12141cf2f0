"""Bodies that are JSON to a parser and a weapon to a server: refused before anything is decoded.

Depth, digits, keys, duplicate fields and broken UTF-8 are bounded here, because the parsers behind
us differ in what they do with them: recursion, quadratic number parsing, first or last value wins.
Cheap checks run on every body; the exact ones run only where a cheap one found cause. All of them
are plain searches and counts over bytes, and every loop is bounded: a body of 32 MB that is made
to be slow costs some tenths of a second, not the seconds of a regular expression per string.
"""

import json
import re
from itertools import accumulate
from typing import Final

DEPTH_MAX: Final = 64
DIGITS_MAX: Final = 64
KEYS_MAX: Final = 10_000
STRINGS_MAX: Final = 200_000
VALUES_MAX: Final = 1_000_000
"""Of any kind. The largest batches of token ids that hosted APIs take have 300,000."""
BRACKETS_MAX: Final = 200_000

# Digits become 1, opening brackets 2 and all else 0: then plain searches find what is looked for.
_KINDS: Final = bytes(
    1 if byte in b"0123456789" else 2 if byte in b"[{" else 0 for byte in range(256)
)
_DIGIT_RUN: Final = b"\x01" * (DIGITS_MAX + 1)
_SPACE: Final = b" \t\r\n"
_SMALL_BYTES: Final = 64 * 1024
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# Fields that routing, limits or billing act on: read by us and again by an engine.
_ONCE: Final = re.compile(
    rb'"(model|messages|stream|max_tokens|max_completion_tokens|n|prompt|input|stream_options'
    rb'|stop|tools|tool_choice|functions|response_format|json_schema|grammar|encoding_format)"\s*:'
)
# Letters of such a name, written so that a plain search does not see them. No encoder does that.
_DISGUISED: Final = re.compile(rb"\\u00(?:5[fF]|6[1-9a-fA-F]|7[0-9aA])")
# Escapes that hide where a string ends; what stands for them can be in no JSON text.
_BACKSLASH, _QUOTE = (rb"\\", b"\x00\x00"), (rb"\"", b"\x00\x01")


def problem_of(body: bytes) -> str | None:
    """Say why a JSON body is not accepted, or None where nothing speaks against it.

    It does not say that the body is valid JSON: decoding does.
    """
    kinds = body.translate(_KINDS)
    if (
        kinds.count(2) > DEPTH_MAX
        or _DIGIT_RUN in kinds
        # A key and its value take at least six bytes, `"a":1,`, and any value two.
        or (len(body) > KEYS_MAX * 6 and body.count(b":") > KEYS_MAX)
        or (len(body) > VALUES_MAX * 2 and body.count(b",") > VALUES_MAX)
    ):
        problem = _problem_of_parts(_parts(body))
        if problem is not None:
            return problem
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            return f"the body is not UTF-8 (byte {error.start})"
    if _is_suspect(body):
        parts = _parts(body)
        if parts is None:
            return f"the JSON has more than {STRINGS_MAX} strings"
        twice = _duplicate(parts)
        if twice is not None:
            return f"the key {twice[:100]!r} appears twice in one object"
    return None


def _parts(body: bytes) -> list[bytes] | None:
    """Return what stands outside and inside of strings, by turns; None for too many strings."""
    if b"\\" in body:
        body = body.replace(*_BACKSLASH).replace(*_QUOTE)
    return None if body.count(b'"') > 2 * STRINGS_MAX else body.split(b'"')


def _problem_of_parts(parts: list[bytes] | None) -> str | None:
    if parts is None:
        return f"the JSON has more than {STRINGS_MAX} strings"
    outside = b'"'.join(parts[::2])
    skeleton = outside.translate(None, _NOT_BRACKETS)
    if len(skeleton) > BRACKETS_MAX or _depth(skeleton) > DEPTH_MAX:
        return f"the JSON is nested deeper than {DEPTH_MAX} levels, or has too many containers"
    if _DIGIT_RUN in outside.translate(_KINDS):
        return f"a number has more than {DIGITS_MAX} characters"
    if outside.translate(None, _SPACE).count(b'":') > KEYS_MAX:
        return f"the JSON has more than {KEYS_MAX} keys"
    if outside.count(b",") > VALUES_MAX:
        return f"the JSON has more than {VALUES_MAX} values"
    return None


def _depth(skeleton: bytes) -> int:
    return max(accumulate(map(_STEP.__getitem__, skeleton)), default=0)


def _is_suspect(body: bytes) -> bool:
    """Tell whether a field that matters may be there twice, plainly or in disguise."""
    if len(body) <= _SMALL_BYTES:  # one call of C code is three times faster than a loop of ours
        names = _ONCE.findall(body)
        if len(set(names)) < len(names):
            return True
        # Looking for one byte costs a fifth of looking for four, and most bodies have none.
        return b"\\" in body and b"\\u00" in body and _DISGUISED.search(body) is not None
    seen: set[bytes] = set()
    for found in _ONCE.finditer(body):
        if found[1] in seen:
            return True
        seen.add(found[1])
    return b"\\u00" in body and _DISGUISED.search(body) is not None


def _duplicate(parts: list[bytes]) -> str | None:
    """Return a key that stands twice in one object, or None; exact, and only for suspects."""
    open_objects: list[set[str]] = []
    for place in range(0, len(parts) - 2, 2):
        for bracket in parts[place].translate(None, _NOT_BRACKETS):
            if _STEP[bracket] > 0:
                open_objects.append(set())
            elif open_objects:
                open_objects.pop()
        if not open_objects or parts[place + 2].lstrip(_SPACE)[:1] != b":":
            continue
        key = _plain(parts[place + 1])
        if key in open_objects[-1]:
            return key
        open_objects[-1].add(key)
    return None


def _plain(key: bytes) -> str:
    if b"\\" not in key and b"\x00" not in key:
        return key.decode("utf-8", "replace")
    for escape, stand_in in (_QUOTE, _BACKSLASH):
        key = key.replace(stand_in, escape)
    try:
        return str(json.loads(b'"' + key + b'"'))
    except ValueError:
        return key.decode("utf-8", "replace")  # not JSON: the decoder will say so
