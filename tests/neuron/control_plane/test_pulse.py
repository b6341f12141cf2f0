"""When a connection is pinged, told a heartbeat, or given up."""

import pytest

from helexa.neuron.control_plane.pulse import LinkTimes, Pulse

TIMES = LinkTimes(tick_s=1.0, ping_s=5.0, silence_s=15.0, welcome_s=10.0)


def ticks(pulse, first, last):
    return {now: pulse.tick(float(now)) for now in range(first, last + 1)}


def test_heartbeats_and_pings_come_at_their_intervals():
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(2.0)
    beats, pings = [], []
    for now in range(1, 13):
        pulse.heard()
        due = pulse.tick(float(now))
        if due.heartbeat:
            pulse.told()
            beats.append(now)
        if due.ping:
            pings.append(now)
    assert beats == [2, 4, 6, 8, 10, 12]
    assert pings == [5, 10]


def test_fifteen_seconds_of_silence_are_the_end():
    """P8: a silent peer is found within fifteen seconds and a tick."""
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(5.0)
    due = ticks(pulse, 1, 16)
    assert not any(due[now].give_up for now in range(1, 16))
    assert due[16].give_up == "nothing came for 15 s"


def test_any_frame_starts_the_silence_anew():
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(5.0)
    ticks(pulse, 1, 15)
    pulse.heard()
    assert not any(due.give_up for due in ticks(pulse, 16, 30).values())


def test_a_chatty_cortex_without_a_welcome_is_given_up():
    pulse = Pulse(TIMES, 0.0)
    for now in range(1, 11):
        pulse.heard()
        assert not pulse.tick(float(now)).give_up
    pulse.heard()
    assert pulse.tick(11.0).give_up == "no welcome within 10 s"


def test_time_in_which_the_process_slept_is_not_silence():
    """F23: a suspended machine does not find its peer lost; nor does a clock that went back."""
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(5.0)
    assert not pulse.tick(3600.0).give_up
    assert not pulse.tick(1.0).give_up


@pytest.mark.parametrize(("wish", "beats"), [(0.0, 1), (-5.0, 1), (1e9, 60)])
def test_odd_intervals_are_brought_into_bounds(wish, beats):
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(wish)
    now = 0
    while True:
        now += 1
        pulse.heard()
        if pulse.tick(float(now)).heartbeat:
            break
    assert now == beats


def test_a_pong_tells_the_time_since_its_ping_once():
    pulse = Pulse(TIMES, 0.0)
    pulse.welcomed(60.0)
    ticks(pulse, 1, 5)
    assert pulse.ponged(5.25) == 0.25
    assert pulse.ponged(5.5) is None
