"""The layout of frames is part of the wire: these bytes may not change within a version."""

from helexa.protocol import tunnel_frames as frames


def test_a_header_is_seven_bytes_in_network_order() -> None:
    assert frames.pack_header(frames.DATA, 0x01020304, 0x0506) == bytes([2, 1, 2, 3, 4, 5, 6])
    assert frames.unpack_header(bytes([2, 1, 2, 3, 4, 5, 6]), 0) == (2, 0x01020304, 0x0506)
    assert frames.HEADER_BYTES == 7


def test_an_opening_is_a_header_and_the_length_of_its_head() -> None:
    packed = frames.pack_opening(frames.WHOLE, 1, 9, 7)
    assert packed == frames.pack_header(frames.WHOLE, 1, 9) + frames.U16.pack(7)


def test_an_answer_is_a_header_the_two_lengths_and_head_trailer_and_body() -> None:
    packed = frames.pack_answer(frames.ANSWER, 0x01020304, 0x0506, 2, 3)
    assert packed == bytes([8, 1, 2, 3, 4, 5, 6, 0, 2, 0, 3])
    assert frames.ANSWER_LENGTHS.unpack_from(packed, frames.HEADER_BYTES) == (2, 3)


def test_types_and_bounds_are_as_documented() -> None:
    assert (frames.OPEN, frames.DATA, frames.HEAD, frames.END) == (1, 2, 3, 4)
    assert (frames.RESET, frames.WINDOW, frames.WHOLE, frames.ANSWER) == (5, 6, 7, 8)
    assert {1, 2, 3, 4, 5, 6, 7, 8} == frames.KINDS
    assert frames.PAYLOAD_BYTES_MAX == 2**16 - 1
    assert frames.TURN_BYTES < frames.WINDOW_BYTES
    assert frames.BACKLOG_LOW_BYTES < frames.BACKLOG_HIGH_BYTES < frames.WINDOW_BYTES
