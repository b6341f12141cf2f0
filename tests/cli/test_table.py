"""Columns of text."""

from helexa.cli.table import clean, table_text


def test_columns_are_as_wide_as_their_widest_cell_and_lines_have_no_tail() -> None:
    text = table_text(["A", "LONG"], [["abc", "x"], ["d", ""]])
    assert text == "A    LONG\nabc  x\nd"


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert clean("a\x1b[31mé\n") == "a�[31mé�"
