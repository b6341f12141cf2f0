"""Regular expressions from callers: which ones an engine can follow token by token. Pure.

Engines turn a `pattern` into a grammar and try it on a whole vocabulary at each token. Measured
with llama.cpp: one expression that can be matched in many ways costs a doubling for each choice
(`[a-z]?` 24 times, or `(([a-z]+)+)+`: more than 10 s a token, and all other requests wait). One
where every character tells where it belongs costs nothing, however long the text.

So an expression is read into its positions and what may follow each (Glushkov). Where no character
can go two ways, only its size is bounded; else the number of its choices is, too.
"""

from dataclasses import dataclass
from typing import Final

CHARS_MAX: Final = 256
GROUPS_DEEP_MAX: Final = 16
CHOICES_MAX: Final = 6
"""Doublings of the work for one token. 8 optional characters took 0.2 s a token, 16 took 1.1 s."""
UNBOUNDED: Final = 16
"""What `*` and `+` count as: about the characters of a long token."""
_COUNT_DIGITS_MAX: Final = 9
_WAYS_BITS_MAX: Final = 3
"""64 branches of six choices each took 2 s a token; so each of them counts as eight branches."""

# A set of characters: one bit for each of Latin-1, and one for all others.
_ANY: Final = (1 << 257) - 1


def _mask(characters: str) -> int:
    mask = 0
    for character in characters:
        mask |= 1 << min(ord(character), 256)
    return mask


_DIGITS: Final = _mask("0123456789")
_SPACES: Final = _mask(" \t\n\r\f\v") | 1 << 256
_WORD: Final = sum(1 << code for code in range(256) if chr(code).isalnum()) | _mask("_") | 1 << 256
_CLASSES: Final = {
    "d": _DIGITS, "w": _WORD, "s": _SPACES, "D": _ANY & ~_DIGITS, "S": _ANY, "W": _ANY,
    "n": _mask("\n"), "t": _mask("\t"), "r": _mask("\r"), "f": _mask("\f"), "v": _mask("\v"),
}  # fmt: skip


class PatternError(ValueError):
    """It cannot be read, or not in bounded time; the text says why."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an expression; positions are bits."""

    nullable: bool
    first: int = 0
    last: int = 0
    size: int = 0
    """Characters when all repetitions are written out."""
    choices: int = 0
    """Doublings, if every choice were open."""


_EMPTY: Final = _Part(nullable=True)


def measure(pattern: str) -> tuple[int, int]:
    """Return an expression's size, written out, and the ways it may be in the middle of a text.

    PatternError where it must be refused.
    """
    if len(pattern) > CHARS_MAX:
        raise PatternError(f"has {len(pattern)} characters; at most {CHARS_MAX} are allowed")
    reader = _Reader(pattern)
    whole = reader.read()
    if whole.choices == 0 or reader.is_plain(whole):
        return whole.size, 1
    if whole.choices > CHOICES_MAX:
        raise PatternError(
            "can match one text in too many ways; repeat and choose between parts that begin with "
            "different characters"
        )
    return whole.size, 1 << min(whole.choices, _WAYS_BITS_MAX)


class _Reader:
    """Reads one expression."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._masks: list[int] = []
        self._follow: list[int] = []
        self._twice = False
        """Some text can be reached in two ways that no character tells apart."""

    def read(self) -> _Part:
        """Return the whole expression; raises PatternError for what is none."""
        part = self._alternatives(0)
        if self._at < len(self._text):
            raise PatternError("has a `)` too many")
        return part

    def is_plain(self, whole: _Part) -> bool:
        """Tell whether each character of a text has one place only, known as soon as it is seen."""
        return not self._twice and all(map(self._is_disjoint, [whole.first, *self._follow]))

    def _is_disjoint(self, positions: int) -> bool:
        seen = 0
        for mask in self._masks_of(positions):
            if seen & mask:
                return False
            seen |= mask
        return True

    def _masks_of(self, positions: int) -> list[int]:
        return [self._masks[position] for position in _bits(positions)]

    # ── grammar: alternatives, sequences, repetitions, single characters ─────────────────────

    def _alternatives(self, depth: int) -> _Part:
        if depth > GROUPS_DEEP_MAX:
            raise PatternError(f"has groups in groups more than {GROUPS_DEEP_MAX} deep")
        branches = [self._sequence(depth)]
        while self._take("|"):
            branches.append(self._sequence(depth))
        if len(branches) == 1:
            return branches[0]
        empties = sum(branch.nullable for branch in branches)
        self._twice = self._twice or empties > 1
        first = last = 0
        for branch in branches:
            first, last = first | branch.first, last | branch.last
        return _Part(
            nullable=empties > 0,
            first=first,
            last=last,
            size=sum(branch.size for branch in branches),
            choices=(len(branches) - 1).bit_length() + max(b.choices for b in branches),
        )

    def _sequence(self, depth: int) -> _Part:
        done = _EMPTY
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            after = self._repeated(depth)
            self._join(done.last, after.first)
            done = _Part(
                nullable=done.nullable and after.nullable,
                first=done.first | after.first if done.nullable else done.first,
                last=done.last | after.last if after.nullable else after.last,
                size=done.size + after.size,
                choices=done.choices + after.choices,
            )
        return done

    def _repeated(self, depth: int) -> _Part:
        part = self._single(depth)
        while (bounds := self._quantifier()) is not None:
            least, most = bounds
            times = UNBOUNDED if most is None else most
            if times > 1:
                self._join(part.last, part.first)
            varies = least != most
            self._twice = self._twice or (varies and part.nullable)
            part = _Part(
                nullable=part.nullable or least == 0,
                first=part.first,
                last=part.last,
                size=part.size * max(times if most is not None else max(least, 1), 1),
                choices=part.choices * min(times, UNBOUNDED) + varies,
            )
        return part

    def _join(self, ends: int, begins: int) -> None:
        for end in _bits(ends):
            self._twice = self._twice or bool(self._follow[end] & begins)
            self._follow[end] |= begins

    def _quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("?", (0, 1)), ("*", (0, None)), ("+", (1, None))):
            if self._take(sign):
                return bounds
        end = self._text.find("}", self._at) if self._text.startswith("{", self._at) else -1
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if end < 0 or not all(_is_count(each) for each in (least or "0", most or "0")):
            return None
        if not least and not most:
            return None
        self._at = end + 1
        low = int(least or 0)
        if not comma:
            return low, low
        return low, int(most) if most else None

    def _single(self, depth: int) -> _Part:
        sign = self._text[self._at]
        self._at += 1
        if sign == "(":
            if self._take("?") and not self._take(":"):
                raise PatternError("has a group with `(?`; only `(?:` is allowed")
            part = self._alternatives(depth + 1)
            if not self._take(")"):
                raise PatternError("has a `(` without its `)`")
            return part
        if sign in "^$":
            return _EMPTY
        if sign == "[":
            return self._position(self._class())
        if sign == "\\":
            return self._position(self._escape())
        return self._position(_ANY if sign == "." else _mask(sign))

    def _position(self, mask: int) -> _Part:
        here = 1 << len(self._masks)
        self._masks.append(mask)
        self._follow.append(0)
        return _Part(nullable=False, first=here, last=here, size=1)

    def _class(self) -> int:
        negated = self._take("^")
        mask, begun = 0, self._at
        while self._at < len(self._text) and (self._text[self._at] != "]" or self._at == begun):
            low = self._member()
            if (
                self._text[self._at : self._at + 1]
                == "-"
                != self._text[self._at + 1 : self._at + 2]
            ):
                self._at += 1
                ends = self._text[self._at : self._at + 1] in ("]", "")
                mask |= low | _mask("-") if ends else _between(low, self._member())
            else:
                mask |= low
        if not self._take("]"):
            raise PatternError("has a `[` without its `]`")
        return _ANY & ~mask | 1 << 256 if negated else mask

    def _member(self) -> int:
        sign = self._text[self._at]
        self._at += 1
        return self._escape() if sign == "\\" else _mask(sign)

    def _escape(self) -> int:
        if self._at >= len(self._text):
            raise PatternError("ends with a backslash")
        sign = self._text[self._at]
        self._at += 1
        if sign in _CLASSES:
            return _CLASSES[sign]
        # Numbers and names of characters are not read: such an escape counts as any character.
        return _ANY if sign.isalnum() else _mask(sign)

    def _take(self, sign: str) -> bool:
        found = self._text.startswith(sign, self._at)
        self._at += len(sign) if found else 0
        return found


def _bits(positions: int) -> list[int]:
    found = []
    while positions:
        low = positions & -positions
        found.append(low.bit_length() - 1)
        positions ^= low
    return found


def _between(low: int, high: int) -> int:
    """Return the characters of a range; all there are where an end is no single character."""
    if low.bit_count() != 1 or high.bit_count() != 1 or low > high:
        return _ANY
    return (high << 1) - low


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _COUNT_DIGITS_MAX
