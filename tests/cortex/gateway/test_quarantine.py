"""F37: a query of death meets two engines of the fleet, and no more."""

from hypothesis import given
from hypothesis import strategies as st

from helexa.cortex.gateway.quarantine import Quarantine
from helexa.protocol.errors import ErrorCode

BAD, GOOD = b'{"messages":"bad"}', b'{"messages":"good"}'


def test_a_request_that_two_engines_died_of_is_refused_for_a_minute() -> None:
    """F37: whichever neurons they were on; the time and the reason are told."""
    quarantine = Quarantine()
    assert not quarantine.crashed(BAD, "n1#1", 0.0)
    assert quarantine.refusal_of(BAD, 1.0) is None
    assert quarantine.crashed(BAD, "n2#1", 5.0)
    refusal = quarantine.refusal_of(BAD, 10.0)
    assert refusal is not None
    assert refusal.code is ErrorCode.ENGINE_CRASH
    assert refusal.retry_after is None
    assert "for 55 s" in refusal.because
    assert quarantine.refusal_of(GOOD, 10.0) is None
    assert quarantine.refusal_of(BAD, 65.0) is None
    assert (len(quarantine), quarantine.blocked) == (0, 0)


def test_many_with_the_same_words_in_one_crash_are_one_crash() -> None:
    quarantine = Quarantine()
    for _ in range(20):
        assert not quarantine.crashed(GOOD, "n1#1", 0.0)
    assert quarantine.refusal_of(GOOD, 0.0) is None


def test_nothing_is_hashed_while_nothing_is_kept_away() -> None:
    quarantine = Quarantine()
    quarantine.crashed(BAD, "n1#1", 0.0)
    assert quarantine.refusal_of(None, 0.0) is None  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 3), st.floats(0, 40)), min_size=1, max_size=80
    )
)
def test_it_is_bounded_and_counts_what_it_keeps_away(
    steps: list[tuple[int, int, float]],
) -> None:
    quarantine = Quarantine(entries_max=4)
    now_s = 0.0
    for body, engine, pause_s in steps:
        now_s += pause_s
        quarantine.crashed(b"%d" % body, f"n#{engine}", now_s)
        assert len(quarantine) <= 4
        refused = sum(quarantine.refusal_of(b"%d" % each, now_s) is not None for each in range(10))
        assert refused == quarantine.blocked
