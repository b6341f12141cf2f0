"""Requests that engines died of, over all neurons: they are kept away, not the fleet. Pure.

A neuron remembers what crashed its own engines. Here the crashes of all neurons are put together,
so that a query of death meets two engines and not two on every neuron. One crash blames all that
were at work in it; only the guilty one is there again in the second. A request is known by its
body, which names the model too. Bounded; `now_s` is an argument.
"""

import hashlib
from collections import OrderedDict
from typing import Final

from helexa.protocol.errors import ErrorCode, Refusal

CRASHES_MAX: Final = 2
BLOCK_S: Final = 60.0
ENTRIES_MAX: Final = 4096


class Quarantine:
    """Bodies of requests by how many different engine processes died while they worked on them."""

    def __init__(self, block_s: float = BLOCK_S, entries_max: int = ENTRIES_MAX) -> None:
        self._block_s = block_s
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, tuple[frozenset[str], float]] = OrderedDict()
        self.blocked = 0
        """How many requests are refused at the moment, or were when last looked at."""

    def __len__(self) -> int:
        return len(self._entries)

    def crashed(self, body: bytes, engine: str, now_s: float) -> bool:
        """A request was in the process `engine` as it died; tells whether it is refused now."""
        self._forget(now_s)
        fingerprint = _fingerprint(body)
        engines, _ = self._entries.pop(fingerprint, (frozenset[str](), now_s))
        self.blocked += len(engines) < CRASHES_MAX <= len(engines | {engine})
        engines |= {engine}
        self._entries[fingerprint] = (engines, now_s)
        while len(self._entries) > self._entries_max:
            self._drop_oldest()
        return len(engines) >= CRASHES_MAX

    def refusal_of(self, body: bytes, now_s: float) -> Refusal | None:
        """Say no to a request that is kept away. Costs a hash only while something is."""
        if not self.blocked:
            return None
        self._forget(now_s)
        engines, at_s = self._entries.get(_fingerprint(body), (frozenset(), now_s))
        if len(engines) < CRASHES_MAX:
            return None
        left_s = max(self._block_s - (now_s - at_s), 0.0)
        return Refusal(
            ErrorCode.ENGINE_CRASH,
            f"{len(engines)} engines died while they worked on this very request; "
            f"it is not tried again for {left_s:.0f} s",
        )

    def _forget(self, now_s: float) -> None:
        while self._entries:
            _, at_s = next(iter(self._entries.values()))
            if now_s - at_s < self._block_s:
                break
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (engines, _) = self._entries.popitem(last=False)
        self.blocked -= len(engines) >= CRASHES_MAX


def _fingerprint(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()
