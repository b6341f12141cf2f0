"""Tenants, projects, keys and audit entries as tables and as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from helexa.cli.table import clean, table_text

TENANTS: Final = ("name", "state", "project_count", "key_count", "created_s", "disabled_s")
PROJECTS: Final = ("tenant", "name", "state", "created_s", "disabled_s")
KEYS: Final = ("id", "name", "tenant", "project", "scopes", "state", "created_s", "created_by",
               "expires_s", "revoked_s", "replaces")  # fmt: skip
ENTRIES: Final = ("id", "at_s", "actor", "action", "subject", "cause", "detail")
_SHORT: Final = {
    KEYS: ("id", "name", "tenant", "project", "scopes", "state", "expires_s"),
    TENANTS: ("name", "state", "project_count", "key_count", "created_s"),
    PROJECTS: ("tenant", "name", "state", "created_s"),
    ENTRIES: ("at_s", "actor", "action", "subject", "cause", "detail"),
}
_HEADS: Final = {"project_count": "PROJECTS", "key_count": "KEYS"}


def listing_text(rows: Sequence[dict[str, Any]], columns: tuple[str, ...], output: str) -> str:
    """Return rows as `output` says: a table for people (fewer columns), json or csv."""
    if output == "json":
        return json.dumps(rows)
    if output == "csv":
        return csv_text(rows, columns)
    shown = _SHORT[columns]
    heads = [_HEADS.get(name, name.removesuffix("_s").upper()) for name in shown]
    return table_text(heads, [[_cell(name, row.get(name)) for name in shown] for row in rows])


def csv_text(rows: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Return rows as CSV (RFC 4180, but for the line ends) under the names of their columns."""
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_plain(row.get(name)) for name in columns])
    return made.getvalue().rstrip("\n")


def _plain(value: object) -> object:
    if isinstance(value, list):
        return " ".join(str(each) for each in value)
    return json.dumps(value) if isinstance(value, dict) else value


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "never" if name == "expires_s" else "-"
    if name.endswith("_s"):
        return time_text(value)
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items() if each is not None) or "-"
    return clean(str(_plain(value)))


def time_text(at_s: float) -> str:
    """Return a time as `2026-11-27 15:04:05Z`, from seconds since 1970."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
