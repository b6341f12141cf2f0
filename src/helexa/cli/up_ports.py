"""Addresses for `helexa up`: which are free, and how this machine reaches what listens there."""

import socket
from collections.abc import Mapping
from typing import Final

from helexa.config.sockets import Socket
from helexa.util.errors import LimitError

TRIES_MAX: Final = 100
_LOCAL: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (compared)


def reachable(listening: Socket) -> Socket:
    """Return an address by which this machine reaches what listens at `listening`."""
    return Socket(_LOCAL.get(listening.host, listening.host), listening.port)


def with_port(wanted: Socket) -> Socket:
    """Return `wanted` with a free port in place of 0."""
    if wanted.port != 0:
        return wanted
    with socket.socket(_family(wanted)) as probe:
        probe.bind((wanted.host, 0))
        return Socket(wanted.host, probe.getsockname()[1])


def require_free(wanted: Mapping[str, Socket | None]) -> None:
    """Raise LimitError, with the flags to change, when something listens at one of the sockets.

    `wanted` maps flags to sockets.
    """
    taken = {flag: at for flag, at in wanted.items() if at is not None and not is_free(at)}
    if taken:
        listed = "; ".join(f"{at} ({flag})" for flag, at in taken.items())
        cure = " ".join(f"{flag} {_free_near(at)}" for flag, at in taken.items())
        raise LimitError(
            f"another program listens on {listed}", error_id="HX-0602", hint=f"helexa up {cure}"
        )


def is_free(wanted: Socket) -> bool:
    """Tell whether nothing listens at a socket; an address that is not ours is not free."""
    with socket.socket(_family(wanted)) as probe:
        # As servers do: a connection that is still closing does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wanted.host, wanted.port))
        except OSError:
            return False
    return True


def _free_near(wanted: Socket) -> Socket:
    """Return a free socket on the same host: one of the next ports, or any (0)."""
    ports = range(wanted.port + 1, min(wanted.port + TRIES_MAX, 65535))
    near = (Socket(wanted.host, port) for port in ports)
    return next((at for at in near if is_free(at)), Socket(wanted.host, 0))


def _family(wanted: Socket) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
