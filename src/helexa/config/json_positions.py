"""On which line each value of a JSON text stands, and which names are there twice. Pure.

The standard library's reader tells no positions, and of a name that is there twice it keeps the
last without a word. This scanner runs after it, over a text that is known to be valid JSON, so it
only has to find names, not to judge values.
"""

import contextlib
import json
import re
from typing import Final

from helexa.config.problems import Path

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PLAIN: Final = re.compile(r"[^\s,\]\}]+")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
DEPTH_MAX: Final = 32
"""Levels that are looked into; nothing that we read has more than seven."""


class _TooDeepError(Exception):
    """There is no use in going on."""


class JsonLines:
    """The lines (from 1) of every value of a valid JSON text, by path."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self.lines: dict[Path, int] = {}
        self.repeated: list[Path] = []
        """Names that are there again, in the order in which they come."""
        self.too_deep: Path | None = None
        """The first value below `DEPTH_MAX` levels; nothing behind it was looked at."""
        # Not valid after all: what was found up to there still helps.
        with contextlib.suppress(_TooDeepError, IndexError, ValueError, AttributeError):
            self._value(())

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        if path:
            if path in self.lines:
                self.repeated.append(path)
            self.lines[path] = self._line
        if len(path) > DEPTH_MAX:
            self.too_deep = path
            raise _TooDeepError
        char = self._text[self._at]
        if char == "{":
            self._object(path)
        elif char == "[":
            self._array(path)
        else:
            self._skip(_STRING if char == '"' else _PLAIN)

    def _object(self, path: Path) -> None:
        self._at += 1
        while self._next() != "}":
            name = json.loads(self._skip(_STRING))
            self._next()  # the colon
            self._at += 1
            self._value((*path, name))
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _array(self, path: Path) -> None:
        self._at += 1
        index = 0
        while self._next() != "]":
            self._value((*path, index))
            index += 1
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _next(self) -> str:
        self._skip(_SPACE)
        return self._text[self._at]

    def _skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        assert found is not None or pattern is not _SPACE
        text = found.group() if found is not None else ""
        if not text and pattern is not _SPACE:
            raise ValueError("no value here")
        self._line += text.count("\n")
        self._at += len(text)
        return text
