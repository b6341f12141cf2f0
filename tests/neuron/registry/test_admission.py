"""Seats: never too many, none lost, every waiter ends once."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helexa.neuron.registry.admission import Admission, Admitted, Queued, Verdict
from helexa.protocol.errors import ErrorCode, Refusal

STOPPING = Refusal(ErrorCode.SHUTTING_DOWN, "stops")


def test_seats_then_queue_then_429_with_retry_after():
    admission = Admission(1, queue_max=2)
    assert admission.ask("a", 0.0) == Admitted()
    assert admission.ask("b", 0.0) == Queued(1, 30.0)
    assert admission.ask("c", 0.0) == Queued(2, 30.0)
    refusal = admission.ask("d", 0.0)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.retry_after) == (429, 5)


def test_the_first_in_the_queue_gets_the_seat_and_knows_how_long_it_waited():
    admission = Admission(1)
    for ticket in "abc":
        admission.ask(ticket, 0.0)
    assert admission.release("a", 2.5) == [Verdict("b", Admitted(2.5))]
    assert (admission.active, admission.waiting) == (1, 1)


def test_a_waiter_that_leaves_gives_its_place_back():
    admission = Admission(1, queue_max=1)
    admission.ask("a", 0.0)
    admission.ask("b", 0.0)
    assert admission.release("b", 1.0) == []
    assert isinstance(admission.ask("c", 1.0), Queued)
    assert admission.release("a", 1.0) == [Verdict("c", Admitted(0.0))]


def test_a_wait_is_bounded():
    admission = Admission(1, wait_s_max=30.0)
    admission.ask("a", 0.0)
    admission.ask("b", 5.0)
    assert admission.deadline == 35.0
    assert admission.expire(34.9) == []
    (verdict,) = admission.expire(35.0)
    assert (verdict.ticket, verdict.outcome.code) == ("b", ErrorCode.RATE_LIMIT_EXCEEDED)
    assert admission.deadline is None


def test_closing_wakes_every_waiter_and_lets_the_others_finish():
    admission = Admission(1)
    for ticket in "abc":
        admission.ask(ticket, 0.0)
    assert admission.close(STOPPING) == [Verdict("b", STOPPING), Verdict("c", STOPPING)]
    assert admission.active == 1
    assert admission.ask("d", 0.0) == STOPPING
    assert admission.release("a", 1.0) == []
    assert admission.active == 0


def test_giving_back_twice_frees_one_seat():
    admission = Admission(1)
    admission.ask("a", 0.0)
    admission.ask("b", 0.0)
    admission.ask("c", 0.0)
    admission.release("a", 0.0)
    assert admission.release("a", 0.0) == []
    assert (admission.active, admission.waiting) == (1, 1)


def test_a_ticket_that_is_inside_cannot_come_again():
    admission = Admission(1)
    admission.ask("a", 0.0)
    with pytest.raises(ValueError, match="inside"):
        admission.ask("a", 0.0)


def test_limits_out_of_range_are_refused():
    with pytest.raises(ValueError, match="out of range"):
        Admission(0)


class Crowd(RuleBasedStateMachine):
    """Anybody comes, leaves, or waits too long, in any order."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.number = 0
        self.admission = Admission(3, queue_max=4, wait_s_max=10.0)
        self.active: set[str] = set()
        self.waiting: list[str] = []
        self.ended: set[str] = set()

    def take(self, verdicts):
        for verdict in verdicts:
            assert verdict.ticket not in self.ended
            assert verdict.ticket == self.waiting[0], "the queue is in order"
            self.waiting.pop(0)
            if isinstance(verdict.outcome, Admitted):
                self.active.add(verdict.ticket)
            else:
                self.ended.add(verdict.ticket)

    @rule()
    def come(self):
        self.number += 1
        ticket = str(self.number)
        outcome = self.admission.ask(ticket, self.now)
        if isinstance(outcome, Admitted):
            assert not self.waiting, "nobody overtakes"
            self.active.add(ticket)
        elif isinstance(outcome, Queued):
            self.waiting.append(ticket)
            assert outcome.place == len(self.waiting)
        else:
            assert self.admission.closed or len(self.waiting) == 4
            self.ended.add(ticket)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def finish(self, data):
        ticket = data.draw(st.sampled_from(sorted(self.active)))
        self.active.discard(ticket)
        self.ended.add(ticket)
        self.take(self.admission.release(ticket, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def lose_patience(self, data):
        ticket = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ticket)
        self.ended.add(ticket)
        assert self.admission.release(ticket, self.now) == []

    @rule(number=st.integers(1, 30))
    def leave_again(self, number):
        if str(number) in self.ended:
            self.take(self.admission.release(str(number), self.now))

    @rule(seconds=st.floats(0.0, 12.0))
    def wait(self, seconds):
        self.now += seconds
        self.take(self.admission.expire(self.now))

    @precondition(lambda self: self.number > 10)
    @rule()
    def close(self):
        self.take(self.admission.close(STOPPING))
        assert not self.waiting

    @invariant()
    def never_more_at_work_than_seats_and_none_is_lost(self):
        assert self.admission.active == len(self.active) <= 3
        assert self.admission.waiting == len(self.waiting) <= 4
        if self.waiting:
            assert len(self.active) == 3, "nobody waits beside a free seat"


Crowd.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCrowd = Crowd.TestCase
