"""The limits of this software, as they are promised."""

import dataclasses

import pytest

from helexa.cortex.gateway.edge.limits import Limits


def test_the_defaults_are_the_promised_ones() -> None:
    limits = Limits()
    assert limits.header_timeout_s == 10
    assert (limits.headers_max, limits.head_bytes_max) == (100, 65536)
    assert limits.request_line_bytes_max == 8192
    assert limits.body_bytes_max == 32 * 1024 * 1024
    assert limits.pipelined_bytes_max == limits.send_buffer_bytes == 65536
    assert (limits.idle_timeout_s, limits.write_stall_s) == (75, 60)


def test_they_cannot_be_changed_under_a_running_server() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().headers_max = 1  # type: ignore[misc]
