"""Two sides agree on the highest version both speak."""

from helexa.protocol.version import VERSION, VERSION_MIN, negotiate


def test_the_highest_common_version_wins() -> None:
    """R0.18: the protocol version is carried on the wire, in register."""
    assert negotiate(VERSION_MIN, VERSION) == VERSION
    assert negotiate(VERSION_MIN, VERSION + 5) == VERSION


def test_no_common_version_is_none() -> None:
    assert negotiate(VERSION + 1, VERSION + 2) is None
    assert negotiate(VERSION_MIN - 2, VERSION_MIN - 1) is None
