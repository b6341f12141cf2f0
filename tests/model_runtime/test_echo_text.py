import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.model_runtime.echo_text import (
    DIMENSIONS,
    expected_text,
    pieces,
    tag_of,
    token_text,
    vector_of,
)


def test_the_text_is_a_function_of_request_and_token():
    assert expected_text("a", 3) == expected_text("a", 3)
    assert expected_text("a", 3) != expected_text("b", 3)
    assert expected_text("a", 5).startswith(expected_text("a", 4))
    assert token_text(tag_of("a"), 4).endswith("é ")
    assert token_text(tag_of("a"), 6).endswith("🙂 ")


@given(st.integers(0, 40), st.integers(0, 30))
def test_an_answer_that_is_cut_anywhere_is_continued_to_the_character(cut, tokens):
    text = expected_text("req", 60)
    prefix = text[: cut * 3]
    continued = prefix + "".join(pieces("req", tokens, prefix))
    assert text.startswith(continued)
    assert len(pieces("req", tokens, prefix)) == tokens


@pytest.mark.parametrize("prefix", ["", "foreign words", expected_text("other", 3)])
def test_a_foreign_prefix_is_answered_from_the_start(prefix):
    assert "".join(pieces("req", 4, prefix)) == expected_text("req", 4)


def test_vectors_have_length_one_and_are_repeatable():
    vector = vector_of("cat")
    assert len(vector) == DIMENSIONS
    assert math.isclose(sum(number * number for number in vector), 1.0)
    assert vector == vector_of("cat")
    assert vector != vector_of("dog")
