"""The last of an output, whatever was printed."""

from hypothesis import given
from hypothesis import strategies as st

from helexa.neuron.process.output import LINE_CHARS_MAX, OutputRing


def test_the_last_lines_are_kept_without_empty_ones():
    ring = OutputRing()
    ring.feed(b"one\n\ntwo\nth")
    ring.feed(b"ree\n")
    assert ring.tail(2) == ("two", "three")
    assert ring.tail(0) == ()


def test_bytes_that_are_no_text_are_shown_and_control_characters_escaped():
    ring = OutputRing()
    ring.feed(b"\xff\x1b[31mred\x00\r\n")
    assert ring.tail() == ("\\xff\\x1b[31mred\\x00",)


def test_a_line_without_end_is_cut():
    ring = OutputRing()
    ring.feed(b"x" * 100_000)
    (line,) = ring.tail()
    assert line == "x" * LINE_CHARS_MAX + "…"


@given(st.lists(st.binary(max_size=60), max_size=60), st.integers(1, 50))
def test_never_more_than_the_bound_is_held_and_it_is_the_end(chunks, bytes_max):
    ring = OutputRing(bytes_max)
    for chunk in chunks:
        ring.feed(chunk)
    whole = b"".join(chunks)
    assert b"".join(ring._chunks) == whole[-bytes_max:]
    assert ring.seen_bytes == len(whole)


def test_many_small_writes_do_not_cost_an_object_each():
    ring = OutputRing()
    for _ in range(10_000):
        ring.feed(b"x\n")
    assert len(ring._chunks) <= 513
