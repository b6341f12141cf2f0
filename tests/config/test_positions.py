"""Line numbers of a TOML text."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from helexa.config.positions import line_map, line_of
from helexa.config.problems import Path
from helexa.config.toml_text import to_toml

TEXT = '''\
# a comment with [brackets] = and "quotes
top = 1                       # [not.a.table]
"quoted key" = "a # b"
a.b.c = 3
long = """
[inside]
x = 1
\\""" still inside"""
raw = \'\'\'
[inside]\'\'\'

[table]   # remark
x = [
  1, # one
  { y = 2, z = [3,
    4] },
]
[table.deeper]
"x.y" = { "q" = 1 }

[[models]]
id = "one"
[[models]]
id = "two"
  [models.options]
  ctx = 1
[[models.parts]]
n = 1
[[models.parts]]
n = 2
'''


def test_every_kind_of_value_has_its_line() -> None:
    """R0.15: a problem names the line of its value."""
    lines = line_map(TEXT)
    expected: dict[Path, int] = {
        ("top",): 2, ("quoted key",): 3, ("a", "b", "c"): 4, ("long",): 5, ("raw",): 9,
        ("table",): 12, ("table", "x"): 13, ("table", "x", 0): 14, ("table", "x", 1): 15,
        ("table", "x", 1, "y"): 15, ("table", "x", 1, "z", 1): 16, ("table", "deeper", "x.y"): 19,
        ("table", "deeper", "x.y", "q"): 19, ("models",): 21, ("models", 0, "id"): 22,
        ("models", 1): 23, ("models", 1, "options", "ctx"): 26,
        ("models", 1, "parts", 0, "n"): 28, ("models", 1, "parts", 1, "n"): 30,
    }  # fmt: skip
    assert {path: lines.get(path) for path in expected} == expected
    assert tomllib.loads(TEXT)["models"][1]["parts"][1]["n"] == 2


def test_what_is_not_there_has_the_line_of_what_is_around_it() -> None:
    lines = line_map(TEXT)
    assert line_of(lines, ("models", 1, "engine")) == 23
    assert line_of(lines, ("nothing",)) is None


def test_carriage_returns_do_not_count_as_lines_of_their_own() -> None:
    assert line_map("a = 1\r\nb = 2\r\n") == {("a",): 1, ("b",): 2}


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    line_map(text)


_KEYS = st.text(min_size=1, max_size=8)
_SCALARS = st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=12,
)


def paths(tree: Any, at: Path = ()) -> list[Path]:
    found = [at] if at else []
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            found += paths(value, (*at, key))
    return found


@given(st.dictionaries(_KEYS, _TREES, max_size=4))
def test_every_value_of_any_toml_text_has_a_line_that_names_it(tree: dict[str, Any]) -> None:
    text = to_toml(tree)
    read = tomllib.loads(text)
    lines = line_map(text)
    assert set(paths(read)) <= set(lines)
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
