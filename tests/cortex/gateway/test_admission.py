"""Who waits, who goes next, and who is turned away: scripts, then every order of events."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helexa.cortex.gateway.admission import (
    RETRY_AFTER_UNKNOWN_S,
    Admission,
    LineLimits,
    ServiceTime,
    retry_after_s,
)
from helexa.cortex.gateway.waiting_line import Claim
from helexa.protocol.errors import ErrorCode
from helexa.protocol.ids import ModelId

M = ModelId("m")
ANONYMOUS = "anonymous"


def claim(key: str = "a", **fields: object) -> Claim:
    return Claim(M, key, anonymous=key == ANONYMOUS, **fields)  # type: ignore[arg-type]


def lines(**limits: object) -> Admission[str]:
    return Admission(LineLimits(**limits))  # type: ignore[arg-type]


def drained(admission: Admission[str], now_s: float = 0.0, *, leftover: bool = True) -> list[str]:
    """Return everyone in the order in which they go, each served and done at once."""
    order = []
    while (ticket := admission.peek(M, now_s, leftover=leftover)) is not None:
        admission.take(ticket)
        order.append(ticket)
    return order


def test_interactive_work_goes_before_bulk() -> None:
    admission = lines()
    admission.enter("bulk", claim(bulk=True), 0.0)
    admission.enter("talk", claim(), 1.0)
    assert drained(admission, 1.0) == ["talk", "bulk"]


def test_a_key_that_has_more_at_work_goes_after_one_that_has_less() -> None:
    admission = lines()
    for _ in range(3):
        admission.begin(M, "greedy")
    for number in range(3):
        admission.enter(f"greedy{number}", claim("greedy"), 0.0)
    admission.enter("modest", claim("modest"), 5.0)
    assert drained(admission, 5.0)[0] == "modest"


def test_keys_with_the_same_share_take_turns() -> None:
    admission = lines()
    for key in "abc":
        for number in range(3):
            admission.enter(f"{key}{number}", claim(key), 0.0)
    assert drained(admission) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_who_waited_too_long_goes_every_second_time() -> None:
    """Bulk work is put off, and not for ever; and what is put off does not take over."""
    admission = lines(starvation_s=10)
    for number in range(3):
        admission.enter(f"bulk{number}", claim("b", bulk=True), 0.0)
    for number in range(3):
        admission.enter(f"talk{number}", claim("t"), 9.0)
    assert drained(admission, 10.0) == ["talk0", "bulk0", "talk1", "bulk1", "talk2", "bulk2"]


def test_who_lost_its_seat_goes_first_and_has_room_in_a_full_line() -> None:
    admission = lines(queue_max=1)
    admission.enter("first", claim(), 0.0)
    assert admission.enter("victim", claim("b", again=True), 1.0) == []
    assert drained(admission, 1.0) == ["victim", "first"]


# ── anonymous callers ─────────────────────────────────────────────────────────────────────────


def test_anonymous_callers_go_after_all_that_hold_a_key() -> None:
    """Lesson 24: also after bulk work of a key, and however long they waited."""
    admission = lines(starvation_s=5)
    admission.enter("nobody", claim(ANONYMOUS), 0.0)
    admission.enter("somebody", claim(bulk=True), 30.0)
    assert drained(admission, 30.0) == ["somebody", "nobody"]


def test_anonymous_callers_leave_the_last_seat_once_a_key_was_shown() -> None:
    """Lesson 24: a keyless batch job took all 8 seats."""
    admission = lines()
    assert admission.may_sit(anonymous=True, seats=[(4, 3)])
    admission.keys_are_shown = True
    assert not admission.may_sit(anonymous=True, seats=[(4, 3)])
    assert admission.may_sit(anonymous=False, seats=[(4, 3)])
    assert admission.may_sit(anonymous=True, seats=[(4, 3), (2, 1)])
    assert not admission.may_sit(anonymous=True, seats=[(4, 9), (2, 1)])
    assert admission.may_sit(anonymous=True, seats=[(1, 0)]), "a model's only seat"
    assert admission.may_sit(anonymous=True, seats=[]), "whatever it waits for, it is not a seat"
    admission.enter("nobody", claim(ANONYMOUS), 0.0)
    assert admission.peek(M, 0.0, leftover=False) is None


def test_anonymous_callers_leave_the_last_place_in_the_line() -> None:
    """Lesson 24."""
    admission = lines(queue_max=2)
    admission.keys_are_shown = True
    assert admission.enter("nobody1", claim(ANONYMOUS), 0.0) == []
    turned_away = admission.enter("nobody2", claim(ANONYMOUS), 0.0)
    assert [ticket for ticket, _ in turned_away] == ["nobody2"]
    assert admission.enter("somebody", claim(), 0.0) == []


# ── no room ───────────────────────────────────────────────────────────────────────────────────


def test_a_full_line_turns_the_newcomer_away_with_an_honest_time() -> None:
    """Lesson 21: bounded; two at work for 4 s each end every 2 s, so 3 that wait take 6 s."""
    admission = lines(queue_max=3)
    for _ in range(4):
        admission.begin(M, "a")
    for _ in range(2):
        admission.end(M, "a", 4.0)
    for number in range(3):
        assert admission.enter(str(number), claim(), 0.0) == []
    [(ticket, refusal)] = admission.enter("late", claim(), 0.0)
    assert ticket == "late"
    assert (refusal.code, refusal.retry_after) == (ErrorCode.RATE_LIMIT_EXCEEDED, 6)
    assert "2 at work, 3 waiting" in refusal.because
    assert "late" not in admission


def test_a_full_line_turns_away_the_newest_of_whoever_takes_most_of_it() -> None:
    admission = lines(queue_max=4)
    for number in range(3):
        admission.enter(f"a{number}", claim("a"), 0.0)
    admission.enter("a-bulk", claim("a", bulk=True), 0.0)
    assert [who for who, _ in admission.enter("b0", claim("b"), 0.0)] == ["a-bulk"]
    assert [who for who, _ in admission.enter("b1", claim("b"), 0.0)] == ["a2"]
    assert [who for who, _ in admission.enter("b2", claim("b"), 0.0)] == ["b2"]
    assert [who for who, _ in admission.enter("a3", claim("a"), 0.0)] == ["a3"]


def test_a_key_takes_the_place_of_an_anonymous_caller_in_a_full_line() -> None:
    admission = lines(queue_max=2)
    admission.enter("n1", claim(ANONYMOUS), 0.0)
    admission.enter("n2", claim(ANONYMOUS), 0.0)
    assert [who for who, _ in admission.enter("a", claim("a"), 0.0)] == ["n2"]


def test_a_line_of_no_places_waits_for_nothing() -> None:
    [(ticket, _)] = lines(queue_max=0).enter("a", claim(), 0.0)
    assert ticket == "a"


def test_a_key_may_have_only_so_many_requests_where_that_is_bounded() -> None:
    """Lesson 23: at work and waiting, with Retry-After 2."""
    admission = lines(per_key_max=2)
    assert admission.refusal_of(M, "a") is None
    admission.begin(M, "a")
    admission.enter("x", claim("a"), 0.0)
    refusal = admission.refusal_of(M, "a")
    assert refusal is not None
    assert (refusal.status, refusal.retry_after) == (429, 2)
    assert admission.refusal_of(M, "b") is None
    admission.end(M, "a", 1.0)
    assert admission.refusal_of(M, "a") is None


# ── giving up ─────────────────────────────────────────────────────────────────────────────────


def test_a_wait_is_bounded_and_who_came_back_may_wait_less() -> None:
    """Lesson 21."""
    admission = lines(wait_s_max=30)
    admission.enter("usual", claim(), 0.0)
    admission.enter("short", claim(again=True, wait_s_max=2), 0.0)
    admission.enter("greedy", claim(wait_s_max=99), 1.0)
    assert [who for who, _ in admission.expire(2.0)] == ["short"]
    assert admission.expire(29.9) == []
    [(who, refusal)] = admission.expire(30.0)
    assert (who, refusal.status) == ("usual", 429)
    assert "no seat came free in 30 s" in refusal.because
    assert [who for who, _ in admission.expire(31.0)] == ["greedy"]
    assert len(admission) == 0


def test_a_caller_that_leaves_gives_its_place_back() -> None:
    """Lesson 22: leaked counts ratcheted to permanent 429s on an idle model."""
    admission = lines(queue_max=1)
    admission.enter("gone", claim(), 0.0)
    assert admission.leave("gone")
    assert not admission.leave("gone")
    assert admission.enter("next", claim(), 0.0) == []
    assert admission.waiting(M) == 1


def test_a_ticket_stands_in_line_once() -> None:
    admission = lines()
    admission.enter("a", claim(), 0.0)
    with pytest.raises(ValueError, match="waits already"):
        admission.enter("a", claim(), 0.0)


def test_tickets_that_are_passed_over_do_not_hold_up_the_others() -> None:
    admission = lines()
    for name in ("a", "b"):
        admission.enter(name, claim("k"), 0.0)
    admission.enter("c", claim("k", again=True), 0.0)
    assert admission.peek(M, 0.0, leftover=True, passed_over={"c"}) == "a"
    assert admission.peek(M, 0.0, leftover=True, passed_over={"c", "a"}) == "b"
    assert admission.peek(M, 0.0, leftover=True, passed_over={"a", "b", "c"}) is None


def test_models_that_nobody_uses_are_forgotten_before_too_many_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("helexa.cortex.gateway.admission.MODELS_MAX", 3)
    admission = lines()
    admission.begin(ModelId("busy"), "a")
    for number in range(50):
        name = ModelId(f"m{number}")
        admission.begin(name, "a")
        admission.end(name, "a", 1.0)
    assert len(admission._models) <= 3
    admission.end(ModelId("busy"), "a", 1.0)


# ── how long ──────────────────────────────────────────────────────────────────────────────────


def test_the_time_of_service_follows_what_was_measured_last() -> None:
    service = ServiceTime()
    assert service.per_second(4) is None
    service.note(10.0)
    assert service.per_second(5) == pytest.approx(0.5)
    assert service.per_second(0) is None
    for _ in range(200):
        service.note(1.0)
    assert service.mean_s == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("waiting", "per_second", "expected"),
    [
        (10, None, RETRY_AFTER_UNKNOWN_S),
        (0, 5.0, 1),
        (10, 5.0, 2),
        (11, 5.0, 3),
        (1000, 5.0, 30),
        (1, 1e-9, 30),
    ],
)
def test_retry_after_is_the_time_that_the_line_takes(
    waiting: int, per_second: float | None, expected: int
) -> None:
    assert retry_after_s(waiting, per_second) == expected


# ── whatever happens ──────────────────────────────────────────────────────────────────────────


class Lines(RuleBasedStateMachine):
    """One model with some seats; callers come, leave and are served in any order."""

    QUEUE_MAX = 5
    SEATS = 3
    WAIT_S = 20.0
    STARVATION_S = 6.0

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.admission: Admission[int] = Admission(
            LineLimits(self.QUEUE_MAX, self.WAIT_S, self.STARVATION_S)
        )
        self.waiting: dict[int, tuple[Claim, float]] = {}
        self.at_work: dict[int, str] = {}
        self.ended: Counter[int] = Counter()
        self.born = 0

    @rule(
        key=st.sampled_from(["a", "b", "c", ANONYMOUS]),
        bulk=st.booleans(),
        again=st.integers(0, 9).map(lambda n: n == 0),
    )
    def enter(self, key: str, bulk: bool, again: bool) -> None:
        if key != ANONYMOUS:
            self.admission.keys_are_shown = True
        ticket, asked = self.born, claim(key, bulk=bulk, again=again)
        self.born += 1
        self.waiting[ticket] = (asked, self.now_s)
        for gone, refusal in self.admission.enter(ticket, asked, self.now_s):
            assert 1 <= (refusal.retry_after or 0) <= 30
            assert not self.waiting[gone][0].again
            del self.waiting[gone]
            self.ended[gone] += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.waiting)))
        assert self.admission.leave(ticket)
        del self.waiting[ticket]
        self.ended[ticket] += 1

    @precondition(lambda self: len(self.at_work) < self.SEATS)
    @rule(leftover=st.booleans())
    def serve(self, leftover: bool) -> None:
        ticket = self.admission.peek(M, self.now_s, leftover=leftover)
        if ticket is None:
            assert all(each.anonymous and not each.again for each, _ in self.waiting.values())
            assert not (leftover and self.waiting)
            return
        asked, _ = self.waiting.pop(ticket)
        others = [each for each, _ in self.waiting.values()]
        if not asked.again:
            assert not any(each.again for each in others)
            assert not (asked.anonymous and any(not each.anonymous for each in others))
        self.admission.take(ticket)
        self.admission.begin(M, asked.key)
        self.at_work[ticket] = asked.key

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), served_s=st.none() | st.floats(0, 1e4))
    def finish(self, data: st.DataObject, served_s: float | None) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.at_work)))
        self.admission.end(M, self.at_work.pop(ticket), served_s)
        self.ended[ticket] += 1

    @rule(seconds=st.floats(0, 15))
    def later(self, seconds: float) -> None:
        self.now_s += seconds
        for ticket, refusal in self.admission.expire(self.now_s):
            assert refusal.code is ErrorCode.RATE_LIMIT_EXCEEDED
            _, since_s = self.waiting.pop(ticket)
            assert self.now_s - since_s >= self.WAIT_S
            self.ended[ticket] += 1
        assert all(self.now_s - since_s < self.WAIT_S for _, since_s in self.waiting.values())

    @invariant()
    def every_ticket_is_in_one_place_and_ends_once(self) -> None:
        assert len(self.waiting) + len(self.at_work) + len(self.ended) == self.born
        assert set(self.ended.values()) <= {1}
        assert len(self.admission) == self.admission.waiting(M) == len(self.waiting)

    @invariant()
    def the_line_is_bounded(self) -> None:
        ordinary = [each for each, _ in self.waiting.values() if not each.again]
        assert len(ordinary) <= self.QUEUE_MAX


Lines.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestLines = Lines.TestCase


@given(
    backlog=st.integers(20, 60),
    seats=st.integers(1, 6),
    durations=st.lists(st.integers(1, 9), min_size=10, max_size=10),
)
@settings(max_examples=60, deadline=None)
def test_two_keys_with_enough_to_do_get_the_same_share_of_the_seats(
    backlog: int, seats: int, durations: list[int]
) -> None:
    """Whoever's requests are long: seats are what is shared, not turns."""
    admission: Admission[tuple[str, int]] = Admission(LineLimits(1000, 1e9, starvation_s=1e9))
    left = Counter(a=backlog, b=backlog)
    for number in range(backlog):
        for key in "ab":
            admission.enter((key, number), claim(key), 0.0)
    at_work: list[tuple[float, str]] = []
    now_s = 0.0
    while min(left.values()) > seats:
        while len(at_work) < seats:
            ticket = admission.peek(M, now_s, leftover=True)
            assert ticket is not None
            admission.take(ticket)
            key, number = ticket
            admission.begin(M, key)
            left[key] -= 1
            takes_s = durations[number % 10] * (3 if key == "a" else 1)
            at_work.append((now_s + takes_s, key))
        held = Counter(key for _, key in at_work)
        assert abs(held["a"] - held["b"]) <= 1
        at_work.sort()
        now_s, key = at_work.pop(0)
        admission.end(M, key, 1.0)


@given(
    others=st.integers(1, 40),
    ahead=st.integers(0, 10),
    newcomers=st.lists(st.sampled_from("abcdef"), min_size=60, max_size=60),
)
@settings(max_examples=60, deadline=None)
def test_nobody_is_passed_over_for_ever(others: int, ahead: int, newcomers: list[str]) -> None:
    """Once it is overdue, a ticket goes within two turns for each that is overdue before it."""
    admission = lines(queue_max=1000, wait_s_max=1e9, starvation_s=10)
    for number in range(ahead):
        admission.enter(f"ahead{number}", claim("z", bulk=True), 0.0)
    admission.enter("patient", claim("z", bulk=True), 0.0)
    for number in range(others):
        admission.enter(f"other{number}", claim("y"), 10.0)
    for turn, key in enumerate(newcomers):
        ticket = admission.peek(M, 10.0, leftover=True)
        assert ticket is not None
        admission.take(ticket)
        if ticket == "patient":
            assert turn < 2 * (ahead + 1)
            return
        admission.enter(f"new{turn}", claim(key), 10.0)
    raise AssertionError("it waits still")
