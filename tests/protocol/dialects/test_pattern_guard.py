"""Expressions that an engine can follow, and those that would hold it up (S24)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.protocol.dialects.pattern_guard import CHARS_MAX, PatternError, measure

LETTER = "[b-y]"


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        (r"^[a-z]+(-[a-z]+)*$", 3),
        (r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}$", 26),
        (r"^\d{4}-\d{2}-\d{2}$", 10),
        (r"^[^@]+@[^@]+\.[a-z]{2,}$", 6),
        (r"^(foo|bar)+$", 6),
        (r"^(?:a|b)*$", 2),
        (r"^https?://[^ ]+$", 9),
        (r"^\+?[0-9]{7,15}$", 16),
        (r"^#[0-9a-fA-F]{6}$", 7),
        (r"^(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])$", 9),
        (r"^v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$", 8),
        (r"^[\]\-x]{2}[]a][a-]$", 4),
        (r"^a{,3}b{x}$", 7),
        (r"", 0),
    ],
)
def test_what_people_write_is_measured_and_has_one_way(pattern: str, size: int) -> None:
    assert measure(pattern)[0] == size


@pytest.mark.parametrize(
    "pattern",
    [
        LETTER + "?" * 1 + (LETTER + "?") * 15,
        f"({LETTER}|{LETTER}|{LETTER}|{LETTER}){{1,20}}",
        "(([a-z]+)+)+",
        f"({LETTER}?){{1,20}}",
        f"({LETTER}*){{0,30}}",
        f"({LETTER}*)" * 10,
        "(((((a{1,10000}){1,10000}){1,10000}){1,10000}){1,10000})",
        "(.|.)*",
        "((a?)?)*",
        "(a|ab|abc|abcd)+x*",
    ],
)
def test_what_was_measured_to_hold_an_engine_up_is_refused(pattern: str) -> None:
    """S24: nested `{1,10000}` five times, and smaller ones that are as bad."""
    with pytest.raises(PatternError, match="too many ways"):
        measure(f"^{pattern}$")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a" * (CHARS_MAX + 1), "at most 256"),
        ("(" * 20 + ")" * 20, "16 deep"),
        ("(a", "without its `)`"),
        ("a)", "too many"),
        ("[a", "without its `]`"),
        ("a\\", "backslash"),
        ("(?=a)b", "only `(?:`"),
        ("[", "without its `]`"),
        ("[a-", "without its `]`"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(pattern: str, said: str) -> None:
    with pytest.raises(PatternError) as caught:
        measure(pattern)
    assert said in str(caught.value)


def test_a_few_open_choices_are_allowed_and_counted() -> None:
    assert measure("^a$") == (1, 1)
    assert measure("^.{0,40}.{0,40}$") == (80, 4)
    assert measure("^" + (LETTER + "?") * 6 + "$") == (6, 8)


def test_an_exact_number_is_no_choice_and_sizes_multiply() -> None:
    assert measure("^((a{3}){4}){5}$") == (60, 1)
    assert measure("^[^a]a*$") == (2, 1)


@given(st.text(alphabet="ab.[]()^-\\|?*+{},09$:d", max_size=60))
def test_any_text_is_measured_or_refused(pattern: str) -> None:
    try:
        size, ways = measure(pattern)
    except PatternError as error:
        assert str(error)
    else:
        assert size >= 0
        assert ways in {1, 2, 4, 8}
