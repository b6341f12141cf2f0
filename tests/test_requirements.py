"""Every requirement of the phases that are built is named by a test."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (R[C0-6]\.[0-9]+) \|", re.MULTILINE)
NAME = re.compile(r"\bR[C0-6]\.[0-9]+\b")
RANGE = re.compile(r"\bR([C0-6])\.([0-9]+)[–-]R?(?:\1\.)?([0-9]+)\b")
BUILT = ("R0.", "R1.", "R2.", "R6.")
HERE = Path(__file__)


@cache
def named_rows() -> frozenset[str]:
    rows: set[str] = set()
    for path in (ROOT / "tests").rglob("*"):
        if path.suffix in {".py", ".mjs"} and path != HERE and "node_modules" not in path.parts:
            text = path.read_text()
            rows |= set(NAME.findall(text))
            for phase, first, last in RANGE.findall(text):
                rows |= {f"R{phase}.{n}" for n in range(int(first), int(last) + 1)}
    return frozenset(rows)


def all_rows() -> list[str]:
    return ROW.findall((ROOT / "docs" / "requirements.md").read_text())


def test_the_list_is_whole() -> None:
    rows = all_rows()
    assert len(rows) == len(set(rows)) == 258


@pytest.mark.parametrize("phase", BUILT)
def test_every_row_of_a_built_phase_is_named_by_a_test(phase: str) -> None:
    missing = [row for row in all_rows() if row.startswith(phase) and row not in named_rows()]
    assert not missing, f"no test names {', '.join(missing)}"


def test_no_test_names_a_row_that_is_not_there() -> None:
    assert named_rows() <= set(all_rows())
