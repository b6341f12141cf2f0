"""One stream: what it takes, what it keeps back, and when it is over."""

import pytest

from helexa.protocol.tunnel_frames import (
    ANSWER,
    BACKLOG_HIGH_BYTES,
    DATA,
    END,
    HEAD,
    PAYLOAD_BYTES_MAX,
    TURN_BYTES,
    WINDOW_BYTES,
    unpack_header,
)
from tests.protocol.test_tunnel import Pair


def test_a_head_that_does_not_fit_a_frame_is_refused_where_it_is_made() -> None:
    pair = Pair()
    pair.open()
    pair.carry()
    with pytest.raises(ValueError, match="do not fit a frame"):
        pair.accepted[0][0].send_head(b"x" * (PAYLOAD_BYTES_MAX + 1))


def test_nothing_is_sent_after_the_end_or_a_reset() -> None:
    pair = Pair()
    _, ear = pair.open()
    _, other = pair.open()
    pair.carry()
    ended, broken = pair.accepted[0][0], pair.accepted[1][0]
    ended.send_end(b"t")
    broken.reset(b"r")
    for stream in (ended, broken):
        stream.send_data(b"late")
        stream.send_end(b"late")
        stream.reset(b"late")
    pair.carry()
    assert (ear.data, ear.ends, ear.resets) == (b"", [b"t"], [])
    assert (other.data, other.ends, other.resets) == (b"", [], [b"r"])


def kinds(message: bytes) -> list[int]:
    found, offset = [], 0
    while offset < len(message):
        kind, _, size = unpack_header(message, offset)
        found.append(kind)
        offset += 7 + size
    return found


def answered(body: bytes, *, answers: bool) -> list[int]:
    """Send a whole answer; return the kinds of its frames once all of it has arrived."""
    pair = Pair(answers=answers)
    _, ear = pair.open()
    pair.carry()
    pair.accepted[0][0].send_answer(b"h", body, b"t")
    found = []
    while message := pair.neuron.take():
        found += kinds(message)
        pair.cortex.receive(message)
    assert (ear.heads, ear.data, ear.ends) == ([b"h"], body, [b"t"])
    assert len(pair.cortex) == len(pair.neuron) == 0
    return found


def test_a_small_answer_is_one_frame() -> None:
    assert answered(b"body", answers=True) == [ANSWER]
    assert answered(b"", answers=True) == [ANSWER]


def test_a_peer_of_an_older_version_gets_the_frames_it_knows() -> None:
    assert answered(b"body", answers=False) == [HEAD, DATA, END]
    assert answered(b"", answers=False) == [HEAD, END]


def test_a_large_answer_takes_turns_as_any_other() -> None:
    assert answered(b"x" * TURN_BYTES, answers=True) == [HEAD, DATA, END]


def test_the_bytes_of_an_answer_are_part_of_the_wire() -> None:
    pair = Pair(answers=True)
    pair.open()
    pair.carry()
    pair.accepted[0][0].send_answer(b"{}", b"body", b"[1]")
    golden = b"\x08\x00\x00\x00\x01\x00\x0d\x00\x02\x00\x03{}[1]body"
    assert pair.neuron.take() == golden


def test_an_answer_is_not_sent_to_who_has_left() -> None:
    pair = Pair(answers=True)
    stream, ear = pair.open()
    pair.carry()
    stream.reset(b"gone")
    pair.neuron.receive(pair.cortex.take())
    pair.accepted[0][0].send_answer(b"h", b"b", b"t")
    assert pair.neuron.take() == b""
    assert ear.heads == []


def test_the_backlog_is_what_the_peer_has_given_no_credit_for() -> None:
    pair = Pair()
    _, ear = pair.open(takes_at_once=False)
    pair.carry()
    stream = pair.accepted[0][0]
    stream.send_data(b"x" * (WINDOW_BYTES + BACKLOG_HIGH_BYTES + 1))
    pair.carry()
    assert stream.backlog_bytes == BACKLOG_HIGH_BYTES + 1
    assert stream.congested
    ear.take()
    pair.carry()
    assert (stream.backlog_bytes, stream.congested) == (0, False)
    assert pair.accepted[0][2].writable == 1


def test_credit_is_given_back_in_few_frames() -> None:
    pair = Pair()
    stream, _ = pair.open()
    pair.carry()
    sent = []
    for _ in range(WINDOW_BYTES // 1024):
        stream.consumed(1024)
        sent.append(pair.cortex.take())
    assert sum(1 for message in sent if message) == 2
