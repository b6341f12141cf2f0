"""Rows as tables and as CSV."""

import csv
import json
from typing import Any

from helexa.cli.people_view import ENTRIES, KEYS, csv_text, listing_text, time_text

KEY: dict[str, Any] = {
    "id": "4x8fQm2LkZ7", "name": 'a "quoted", name', "tenant": "acme", "project": "search",
    "scopes": ["inference", "read"], "state": "good", "created_s": 1_700_000_000.5,
    "created_by": "me", "expires_s": None, "revoked_s": None, "replaces": None,
}  # fmt: skip


def test_a_time_is_told_in_utc() -> None:
    assert time_text(0.0) == "1970-01-01 00:00:00Z"
    assert time_text(1_700_000_000.9) == "2023-11-14 22:13:20Z"


def test_a_table_is_for_people() -> None:
    head, row = listing_text([KEY], KEYS, "table").splitlines()
    assert head.split() == ["ID", "NAME", "TENANT", "PROJECT", "SCOPES", "STATE", "EXPIRES"]
    assert row.endswith("inference read  good   never")


def test_csv_is_read_back_as_it_was() -> None:
    (row,) = csv.DictReader(csv_text([KEY], KEYS).splitlines())
    assert tuple(row) == KEYS
    assert (row["name"], row["scopes"]) == ('a "quoted", name', "inference read")
    assert (row["created_s"], row["expires_s"]) == ("1700000000.5", "")


def test_json_is_whole() -> None:
    assert json.loads(listing_text([KEY], KEYS, "json")) == [KEY]


def test_what_a_name_holds_cannot_steer_the_terminal() -> None:
    entry = {"id": 1, "at_s": 0.0, "actor": "me\x1b[2J", "action": "a", "subject": "s",
             "cause": "", "detail": {"name": "x\n", "none": None}}  # fmt: skip
    text = listing_text([entry], ENTRIES, "table")
    assert "\x1b" not in text
    assert len(text.splitlines()) == 2
    assert json.loads(dict(zip(ENTRIES, next(csv.reader([csv_text([entry], ENTRIES)
                      .splitlines()[1]])), strict=True))["detail"])["name"] == "x\n"  # fmt: skip
