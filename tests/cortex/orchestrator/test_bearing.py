"""What replicas bear, and whether they are in use."""

from dataclasses import replace

from helexa.cortex.orchestrator.bearing import Bearing
from tests.fakes.routing import M, replica

PAIR = (replica("n1", useful_seats=4), replica("n2", useful_seats=9, active_requests=1))


def test_seats_are_the_mean_of_all_replicas_and_unknown_without_any() -> None:
    bearing = Bearing()
    assert bearing.of(M, PAIR) == (6, True)
    assert bearing.of(M, PAIR[:1]) == (4, False)
    assert bearing.of(M, ()) == (0, False)


def test_other_replicas_are_looked_at_anew_and_so_are_all_that_were_forgotten() -> None:
    bearing = Bearing()
    assert bearing.of(M, PAIR) == bearing.of(M, PAIR)
    quiet = (PAIR[0], replace(PAIR[1], active_requests=0))
    assert bearing.of(M, quiet) == (6, False)
    bearing.clear()
    assert bearing.of(M, PAIR) == (6, True)
