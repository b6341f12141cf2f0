"""What all connections of one edge server share: its callbacks, limits, time and counts.

`Service` is the seam between the listening side (`server`) and each client (`connection`); the
tests drive a connection through it without a socket or an event loop.
"""

import itertools
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

from helexa.cortex.gateway.edge.exchange import Exchange
from helexa.cortex.gateway.edge.head import HeadReader
from helexa.cortex.gateway.edge.limits import Limits
from helexa.protocol.errors import Refusal

Handler = Callable[[Exchange], None]
"""Gets each whole request, in a plain call that must not block, and answers it now or later."""

Admit = Callable[[Exchange], Refusal | None]
"""Judges a request by its head, before its body is read. Must not answer it."""

Refuse = Callable[[Exchange | None, Refusal], tuple[int, bytes, bytes]]
"""Turns a refusal into status, header lines and body; no exchange where no head could be read."""

OnFault = Callable[[BaseException, str], None]
"""Told of an exception out of a callback, with the request's id."""


class Client(Protocol):
    """A connection as the server sees it."""

    deadline_s: float

    @property
    def busy(self) -> bool:
        """Whether a request has begun and its answer is not complete."""
        ...

    def expire(self, now: float) -> None:
        """Do what is due at `now`, and set the next deadline."""
        ...

    def close_idle(self) -> None:
        """Close if no request has begun."""
        ...

    def abort(self) -> None:
        """Drop the connection at once."""
        ...


def admit_all(_exchange: Exchange) -> Refusal | None:
    """Refuse nothing."""
    return None


class Service:
    """Shared by all connections. `now_s` and the date are as of the last sweep."""

    __slots__ = (
        "_id_prefix",
        "_ids",
        "_second",
        "admit",
        "bodies_bytes",
        "connections",
        "date_line",
        "draining",
        "handler",
        "later",
        "limits",
        "now_s",
        "on_fault",
        "on_lost",
        "reader",
        "refuse",
    )

    def __init__(
        self,
        handler: Handler,
        admit: Admit,
        refuse: Refuse,
        on_fault: OnFault,
        limits: Limits,
        id_prefix: str,
    ) -> None:
        self.handler = handler
        self.admit = admit
        self.refuse = refuse
        self.on_fault = on_fault
        self.on_lost: Callable[[], None] = _nothing
        """Called after a connection has ended and left `connections`."""
        self.later: Callable[[Callable[[], None]], object] = _at_once
        """Calls something in the next turn of the event loop."""
        self.limits = limits
        self.reader = HeadReader(limits)
        self.connections: set[Client] = set()
        self.bodies_bytes = 0
        """What all bodies in memory have beyond the first bytes of each, which are free."""
        self.draining = False
        """While true, each connection ends after the answer it is giving."""
        self.now_s = 0.0
        self.date_line = b""
        self._second = -1
        self._id_prefix = id_prefix
        self._ids = itertools.count(1)

    def new_request_id(self) -> str:
        """Return an id that no other request of this or, most likely, any process has."""
        return f"{self._id_prefix}{next(self._ids):x}"

    def tick(self, now: float, wall_s: float) -> None:
        """Take the time, renew the date header, and let everything expire that is due."""
        self.now_s = now
        if int(wall_s) != self._second:
            self._second = int(wall_s)
            self.date_line = f"date: {formatdate(self._second, usegmt=True)}\r\n".encode()
        due = [connection for connection in self.connections if connection.deadline_s <= now]
        for connection in due:
            connection.expire(now)


def _nothing() -> None:
    return None


def _at_once(call: Callable[[], None]) -> None:
    call()
