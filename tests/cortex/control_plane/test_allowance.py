"""How much a neuron may say."""

from helexa.cortex.control_plane.allowance import BYTES_A_UNIT, UNITS_MAX, UNITS_PER_S, Allowance


def test_a_neuron_that_starts_may_say_much_at_once() -> None:
    allowance = Allowance(100.0)
    assert [allowance.spend(0, 100.0) for _ in range(int(UNITS_MAX))] == [0.0] * int(UNITS_MAX)
    assert allowance.spend(0, 100.0) == 1 / UNITS_PER_S


def test_a_debt_is_paid_by_time_and_no_more_than_the_maximum_is_saved() -> None:
    allowance = Allowance(100.0)
    assert allowance.spend(int(UNITS_MAX + 4 * UNITS_PER_S - 1) * BYTES_A_UNIT, 100.0) == 4.0
    assert allowance.wait_s(101.0) == 3.0
    assert allowance.wait_s(104.0) == 0.0
    allowance.wait_s(100_000.0)
    assert allowance.spend(int(UNITS_MAX) * BYTES_A_UNIT, 100_000.0) > 0


def test_a_large_message_costs_more_than_a_small_one() -> None:
    small, large = Allowance(0.0), Allowance(0.0)
    for _ in range(40):
        small.spend(100, 0.0)
        large.spend(200_000, 0.0)
    assert small.wait_s(0.0) == 0.0
    assert large.wait_s(0.0) > 10.0
