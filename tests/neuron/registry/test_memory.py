"""Whether a model fits, in words."""

from helexa.neuron.registry.memory import GIB, gib, shortage


def test_a_shortage_is_told_with_its_numbers():
    told = shortage(int(21.4 * GIB), int(15.1 * GIB), 22 * GIB)
    assert told == "needs 21.4 GiB; 15.1 free of 22.0"


def test_what_fits_exactly_fits():
    assert shortage(GIB, GIB, GIB) is None
    assert shortage(GIB + 1, GIB, GIB) is not None


def test_an_unknown_need_is_no_shortage():
    assert shortage(None, 0, GIB) is None


def test_small_sizes_keep_digits_that_mean_something():
    assert (gib(0), gib(GIB // 100), gib(GIB)) == ("0.0", "0.01", "1.0")


def test_overcommitted_memory_is_not_told_as_negative():
    assert "; 0.0 free of 1.0" in shortage(GIB, -5, GIB)
