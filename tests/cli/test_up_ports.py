"""Addresses for `helexa up`."""

import socket
from collections.abc import Iterator

import pytest

from helexa.cli.up_ports import is_free, reachable, require_free, with_port
from helexa.config.sockets import Socket, parse_socket
from helexa.util.errors import LimitError


@pytest.fixture
def taken() -> Iterator[Socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield Socket("127.0.0.1", listening.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "way"),
    [(":80", "127.0.0.1:80"), ("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"),
     ("10.0.0.1:80", "10.0.0.1:80")],
)  # fmt: skip
def test_what_listens_everywhere_is_reached_on_loopback(text: str, way: str) -> None:
    assert str(reachable(parse_socket(text))) == way


def test_port_0_becomes_a_free_port_and_others_stay() -> None:
    chosen = with_port(Socket("127.0.0.1", 0))
    assert chosen.port > 0
    assert is_free(chosen)
    assert with_port(chosen) == chosen


def test_a_taken_port_is_told_with_a_command_that_would_work(taken: Socket) -> None:
    """R0.16: a port conflict gives a specific message, with the flag to change."""
    free = with_port(Socket("127.0.0.1", 0))
    with pytest.raises(LimitError) as caught:
        require_free({"--gateway-socket": taken, "--api-socket": free, "--portal-socket": None})
    assert caught.value.message == f"another program listens on {taken} (--gateway-socket)"
    flag, suggested = caught.value.hint.removeprefix("helexa up ").split()
    assert flag == "--gateway-socket"
    assert is_free(parse_socket(suggested))
    assert caught.value.exit_status == 6


def test_an_address_of_another_machine_is_not_free() -> None:
    assert not is_free(Socket("192.0.2.1", 0))
