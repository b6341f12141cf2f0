"""Opens listening sockets and accepts from them, no faster than connections can be held.

What waits beyond the limit waits in the kernel's queue, at no cost to those being served.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from helexa.config.sockets import Socket
from helexa.util.errors import ConfigError

ACCEPTS_A_TURN_MAX: Final = 64
"""Connections accepted from one socket in one turn of the event loop."""

# The process or the machine is out of descriptors or memory: trying again at once would spin.
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Take = Callable[[socket.socket, str], None]
"""Takes an accepted socket and the client's address."""


def open_sockets(
    host: str, port: int, *, backlog: int = 1024, shared_port: bool = False
) -> list[socket.socket]:
    """Listen on every address that `host` names ("" is all of this machine, IPv4 and IPv6).

    With port 0 the kernel picks one for the first address and the others get the same.
    `shared_port` lets several processes listen on it (SO_REUSEPORT). Raises ConfigError.
    """
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            opened.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], port, *address[2:]))
            sock.listen(backlog)
            port = sock.getsockname()[1]
    except OSError as error:
        for sock in opened:
            sock.close()
        raise ConfigError(
            f"cannot listen on {host or '*'}:{port}: {error.strerror or error}",
            error_id="HX-2102",
            hint="choose another address or port, or stop what listens there",
        ) from error
    return opened


def told_address(address: Sequence[object]) -> str:
    """Return `127.0.0.1:8080` or `[::1]:8080` for a socket's address."""
    host = str(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


@contextlib.contextmanager
def open_all(wanted: Mapping[str, Socket | None]) -> Iterator[dict[str, list[socket.socket]]]:
    """Listen on every wanted socket, or on none: one that cannot be bound releases the others.

    None is a socket that is off. Raises ConfigError with a note that names the socket.
    """
    with contextlib.ExitStack() as stack:
        bound: dict[str, list[socket.socket]] = {}
        for name, where in wanted.items():
            if where is None:
                continue
            try:
                bound[name] = open_sockets(where.host, where.port)
            except ConfigError as error:
                error.add_note(f"for [{name}] socket = {where}")
                raise
            for each in bound[name]:
                stack.callback(each.close)
        yield bound


def addresses_of(bound: Mapping[str, list[socket.socket]]) -> dict[str, str]:
    """Return `host:port` of each listener's first socket."""
    addresses: dict[str, str] = {}
    for name, sockets in bound.items():
        host, port = sockets[0].getsockname()[:2]
        addresses[name] = str(Socket(host, port))
    return addresses


class Gate:
    """Accepts connections while it is open; `close` ends listening for good."""

    def __init__(
        self, sockets: Sequence[socket.socket], take: Take, has_room: Callable[[], bool]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._take = take
        self._has_room = has_room
        self._open = False
        self._exhausted = False
        """The last accept failed for want of descriptors; only `retry` tries again."""

    @property
    def addresses(self) -> list[str]:
        """Where it listens."""
        return [told_address(sock.getsockname()) for sock in self._sockets]

    @property
    def accepting(self) -> bool:
        """Whether new connections are being taken now."""
        return self._open

    def open(self) -> None:
        """Take connections, if there is room and descriptors were not just found wanting."""
        if self._open or self._exhausted or not self._has_room():
            return
        self._open = True
        for sock in self._sockets:
            self._loop.add_reader(sock, self._accept, sock)

    def retry(self) -> None:
        """Try again after descriptors had run out; called once per sweep."""
        self._exhausted = False
        self.open()

    def close(self) -> None:
        """Stop listening; connections that were not accepted are refused by the kernel."""
        self._pause()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _pause(self) -> None:
        if self._open:
            self._open = False
            for sock in self._sockets:
                self._loop.remove_reader(sock)

    def _accept(self, sock: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN_MAX):
            if not self._has_room():
                self._pause()
                return
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._exhausted = True
                self._pause()
                return
            client.settimeout(0)
            self._take(client, told_address(address))
