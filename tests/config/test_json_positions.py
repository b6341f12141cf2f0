"""Line numbers of a JSON text."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from helexa.config.json_positions import JsonLines
from helexa.config.problems import Path

TEXT = """{
  "a": 1, "b": [true,
    {"c": null, "d \\" }": "e\\n]"},
    []],
  "f": {
    "g": -1.5e3
  }
}"""


def test_every_value_has_its_line() -> None:
    assert JsonLines(TEXT).lines == {
        ("a",): 2, ("b",): 2, ("b", 0): 2, ("b", 1): 3, ("b", 1, "c"): 3, ("b", 1, 'd " }'): 3,
        ("b", 2): 4, ("f",): 5, ("f", "g"): 6,
    }  # fmt: skip


def test_a_name_that_is_there_twice_is_told() -> None:
    assert JsonLines('{"a": {"b": 1, "b": 2}, "a": 3}').repeated == [("a", "b"), ("a",)]


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    JsonLines(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, indent=st.sampled_from([None, 0, 2]))
def test_it_finds_exactly_what_the_reader_reads(value: Any, indent: int | None) -> None:
    found = JsonLines(json.dumps(value, indent=indent))
    assert set(found.lines) == set(_paths(value, ()))
    assert found.repeated == []


def _paths(value: Any, at: Path) -> list[Path]:
    if isinstance(value, dict):
        below = value.items()
    elif isinstance(value, list):
        below = enumerate(value)  # type: ignore[assignment]
    else:
        return []
    found: list[Path] = []
    for key, inner in below:
        found += [(*at, key), *_paths(inner, (*at, key))]
    return found
