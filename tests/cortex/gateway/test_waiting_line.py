"""The order of one line. What the order is for is tested with `admission`."""

from helexa.cortex.gateway.waiting_line import Claim, Line
from helexa.protocol.ids import ModelId

M = ModelId("m")


def test_a_line_counts_each_key_in_all_its_parts() -> None:
    line: Line[str] = Line()
    line.add("a1", Claim(M, "a"), 0.0, 9.0)
    line.add("a2", Claim(M, "a", bulk=True), 0.0, 9.0)
    line.add("n", Claim(M, "anonymous", anonymous=True), 0.0, 9.0)
    line.add("x", Claim(M, "b", again=True), 0.0, 9.0)
    assert (line.count_of("a"), line.count_of("anonymous"), line.count_of("c")) == (2, 1, 0)
    assert (len(line), line.ordinary) == (4, 3)


def test_a_key_that_was_served_goes_behind_the_others_and_one_that_left_does_not() -> None:
    line: Line[str] = Line()
    for ticket in ("a1", "a2", "b1", "b2"):
        line.add(ticket, Claim(M, ticket[0]), 0.0, 9.0)
    line.remove("a1")
    assert line.next({}, -1.0, leftover=True, passed_over=()) == "a2"
    line.remove("a2", served=True)
    assert line.next({}, -1.0, leftover=True, passed_over=()) == "b1"


def test_the_oldest_of_those_overdue_goes_in_its_turn_and_then_the_usual_order() -> None:
    line: Line[str] = Line()
    line.add("old", Claim(M, "a", bulk=True), 0.0, 99.0)
    line.add("older key", Claim(M, "b"), 1.0, 99.0)
    line.add("new", Claim(M, "c"), 9.0, 99.0)
    at_work = {"b": 4}
    assert line.next(at_work, 2.0, leftover=True, passed_over=()) == "new"
    line.remove("new", served=True)
    assert line.next(at_work, 2.0, leftover=True, passed_over=()) == "old"
    assert line.next(at_work, 2.0, leftover=True, passed_over={"old"}) == "older key"


def test_the_time_that_was_waited_is_told_with_those_whose_time_is_up() -> None:
    line: Line[str] = Line()
    line.add("a", Claim(M, "a"), 1.0, 3.0)
    line.add("b", Claim(M, "b"), 1.0, 4.0)
    assert list(line.expired(3.5)) == [("a", 2.0)]
