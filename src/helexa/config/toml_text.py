"""Settings as TOML text: what `config show` prints and what `up` hands to its processes. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from helexa.config.problems import Path

Comment = Callable[[Path], str]
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+\Z")


def to_toml(tree: Mapping[str, Any], comment: Comment | None = None) -> str:
    """Return a tree of settings as TOML. A value of None is left out.

    `comment` gives the remark behind the line of each value.
    """
    lines: list[str] = []
    _table(lines, tree, (), comment)
    return "\n".join(lines).strip("\n") + "\n"


def _table(lines: list[str], tree: Mapping[str, Any], at: Path, comment: Comment | None) -> None:
    """Write the values of one table, then the tables in it, as TOML's grammar wants it."""
    for key, value in tree.items():
        if value is None or _is_table(value) or _is_tables(value):
            continue
        line = f"{_key(key)} = {_value(value)}"
        remark = comment((*at, key)) if comment is not None else ""
        lines.append(f"{line:<48}  # {remark}" if remark else line)
    for key, value in tree.items():
        path = (*at, key)
        if _is_table(value):
            if value:
                lines += ["", f"[{_dotted(path)}]"]
                _table(lines, value, path, comment)
        elif _is_tables(value):
            for index, item in enumerate(value):
                lines += ["", f"[[{_dotted(path)}]]"]
                _table(lines, item, (*path, index), comment)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_table, value))


def _dotted(path: Path) -> str:
    return ".".join(_key(part) for part in path if isinstance(part, str))


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return _text(str(value))


def _text(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
