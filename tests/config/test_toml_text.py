"""Settings written as TOML."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.config.toml_text import to_toml

_SCALARS = (
    st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
_TABLES = st.deferred(lambda: st.dictionaries(st.text(min_size=1, max_size=6), _VALUES, max_size=4))
_VALUES = _SCALARS | st.lists(_SCALARS, max_size=3) | st.lists(_TABLES, max_size=2) | _TABLES


def without_empty(value: Any) -> Any:
    """An empty table says nothing, so it may be left out."""
    if isinstance(value, dict):
        kept = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item != {}}
    return [without_empty(item) for item in value] if isinstance(value, list) else value


@given(_TABLES)
def test_what_is_written_reads_back_the_same(tree: dict[str, Any]) -> None:
    assert without_empty(tomllib.loads(to_toml(tree))) == without_empty(tree)


def test_nothing_is_written_for_none_and_remarks_stand_behind_values() -> None:
    text = to_toml({"a": None, "g": {"b": 1}}, lambda path: "/".join(map(str, path)))
    assert text.split() == ["[g]", "b", "=", "1", "#", "g/b"]


@pytest.mark.parametrize("text", ['"', "\\", "\n", "\x7f", "\x00", "ü", "a\tb"])
def test_awkward_texts_survive(text: str) -> None:
    assert tomllib.loads(to_toml({"a": text, text: 1})) == {"a": text, text: 1}
