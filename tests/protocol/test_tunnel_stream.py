"""One stream: what it takes, what it keeps back, and when it is over."""

import pytest

from helexa.protocol.tunnel_frames import BACKLOG_HIGH_BYTES, PAYLOAD_BYTES_MAX, WINDOW_BYTES
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
