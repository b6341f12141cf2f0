"""On which line each value of a TOML text stands. Pure.

The standard library's reader tells no positions. This scanner runs after it, over a text that is
known to be valid TOML, so it only has to find keys, not to judge them. What it does not find has
no position, and a problem is then told with the line of the nearest table around it.
"""

import contextlib
from typing import Final

from helexa.config.problems import Path

_BARE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPES: Final = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "r": "\r", "b": "\b", "f": "\f"}


def line_map(text: str) -> dict[Path, int]:
    """Return the line (from 1) of every key, table and list element of a valid TOML text."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    # Not valid after all, or nested absurdly deep: what was found up to there still helps.
    with contextlib.suppress(IndexError, RecursionError, ValueError, OverflowError):
        scanner.document()
    return scanner.lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """Return the line of `path`, or of the nearest known thing around it."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return None


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text + "\n"
        self._at = 0
        self._line = 1
        self._table: Path = ()
        self._tables_in_array: dict[Path, int] = {}
        self.lines: dict[Path, int] = {}

    def document(self) -> None:
        while self._skip_blank():
            if self._peek() == "[":
                self._header()
            else:
                self._assignment(self._table)

    # characters

    def _peek(self) -> str:
        return self._text[self._at]

    def _next(self) -> str:
        char = self._text[self._at]
        self._at += 1
        self._line += char == "\n"
        return char

    def _skip_blank(self) -> bool:
        """Go to the next thing that is no space, newline or comment; False at the end."""
        while self._at < len(self._text):
            char = self._peek()
            if char == "#":
                while self._peek() != "\n":
                    self._next()
            elif char not in " \t\r\n,":
                return True
            else:
                self._next()
        return False

    # keys and tables

    def _header(self) -> None:
        line = self._line
        self._next()
        is_array = self._peek() == "["
        if is_array:
            self._next()
        keys = self._key()
        while self._peek() == "]":
            self._next()
        path = self._inside_arrays(keys[:-1])
        if is_array:
            index = self._tables_in_array.get((*path, keys[-1]), -1) + 1
            self._tables_in_array[*path, keys[-1]] = index
            self.lines.setdefault((*path, keys[-1]), line)
            self._table = (*path, keys[-1], index)
        else:
            self._table = self._inside_arrays(keys)
        self.lines.setdefault(self._table, line)

    def _inside_arrays(self, keys: list[str]) -> Path:
        """Return the path that `keys` mean now: a name of an array of tables is its last one."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self._tables_in_array:
                path = (*path, self._tables_in_array[path])
        return path

    def _assignment(self, table: Path) -> None:
        line = self._line
        path = table
        for key in self._key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._next()
        self._value(path)

    def _key(self) -> list[str]:
        """Read a dotted key, up to but without what ends it."""
        keys: list[str] = []
        while True:
            while self._peek() in " \t":
                self._next()
            char = self._peek()
            if char in "\"'":
                keys.append(self._string())
            elif char in _BARE:
                start = self._at
                while self._peek() in _BARE:
                    self._next()
                keys.append(self._text[start : self._at])
            elif char == ".":
                self._next()
            else:
                if not keys:
                    raise IndexError("no key here")
                return keys

    # values

    def _value(self, path: Path) -> None:
        while self._peek() in " \t":
            self._next()
        char = self._peek()
        if char in "\"'":
            self._string()
        elif char == "[":
            self._array(path)
        elif char == "{":
            self._inline_table(path)
        else:
            while self._peek() not in ",]}#\n":
                self._next()

    def _array(self, path: Path) -> None:
        self._next()
        index = 0
        while self._skip_blank() and self._peek() != "]":
            self.lines.setdefault((*path, index), self._line)
            self._value((*path, index))
            index += 1
        self._next()

    def _inline_table(self, path: Path) -> None:
        self._next()
        while self._skip_blank() and self._peek() != "}":
            self._assignment(path)
        self._next()

    def _string(self) -> str:
        quote = self._peek()
        if self._text.startswith(quote * 3, self._at):
            return self._long_string(quote)
        self._next()
        text = ""
        while (char := self._next()) != quote:
            text += self._escaped() if char == "\\" and quote == '"' else char
        return text

    def _escaped(self) -> str:
        char = self._next()
        digits = {"u": 4, "U": 8}.get(char)
        if digits is None:
            return _ESCAPES.get(char, char)
        code = "".join(self._next() for _ in range(digits))
        return chr(int(code, 16))

    def _long_string(self, quote: str) -> str:
        start = self._at
        for _ in range(3):
            self._next()
        while not self._text.startswith(quote * 3, self._at):
            if self._next() == "\\" and quote == '"':
                self._next()
        # Up to two more quotes may belong to the text.
        while self._peek() == quote:
            self._next()
        return self._text[start : self._at]
