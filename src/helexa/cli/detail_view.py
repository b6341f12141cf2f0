"""Any answer of the admin API as indented text, whole; units are read off the names. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from helexa.cli.progress import size_text
from helexa.cli.status_view import UNKNOWN, duration_text
from helexa.cli.table import clean, table_text

_INDENT: Final = "  "
_YES_NO: Final = {True: "yes", False: "no"}


def detail_text(value: Mapping[str, Any]) -> str:
    """Return a line for each value, a section for each object, a table for each list of them."""
    return "\n".join(_lines(value, ""))


def _lines(value: Mapping[str, Any], indent: str) -> list[str]:
    width = max((len(_name(key)) for key, each in value.items() if _is_line(each)), default=0)
    lines: list[str] = []
    for key, each in value.items():
        if _is_line(each):
            line = f"{_name(key).ljust(width)}  {_text(key, each)}"
            lines.append(indent + clean(line).rstrip())
            continue
        lines.append(f"{indent}{clean(_name(key))}")
        if isinstance(each, Mapping):
            lines += _lines(each, indent + _INDENT)
        else:
            lines += [indent + _INDENT + row for row in _table(each).splitlines()]
    return lines


def _is_line(value: object) -> bool:
    if isinstance(value, Mapping):
        return not value
    return not (isinstance(value, list) and any(isinstance(each, Mapping) for each in value))


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_text(head, row.get(head)) for head in heads] for row in rows]
    return table_text([_name(head).upper() for head in heads], cells)


def _name(key: str) -> str:
    for unit in ("_bytes", "_s", "_ratio", "_tokens"):
        key = key.removesuffix(unit)
    return key.replace("_", " ")


def _text(key: str, value: object) -> str:
    if value is None or value in ("", [], {}):
        return UNKNOWN
    if isinstance(value, bool):
        return _YES_NO[value]
    if isinstance(value, list):
        return ", ".join(_text(key, each) for each in value)
    if isinstance(value, int | float):
        if key.endswith("_bytes"):
            return size_text(int(value))
        if key.endswith("_s") and value >= 60:
            return duration_text(value)
        if key.endswith("_s"):
            return f"{value:g} s"
        if key.endswith("_ratio"):
            return f"{value * 100:.0f} %"
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    return str(value)
