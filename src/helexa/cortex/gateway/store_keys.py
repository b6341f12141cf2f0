"""Keys of the store at the gateway's door: judged by the last book, never by the database.

A key that was good once is remembered by a digest keyed with this process's own random bytes, so
that the next request with it costs one hash and one look-up; what is remembered is judged anew as
soon as there is another book. No key's text is kept.

Who guesses is slowed: an address, and an address at one key, may be wrong some times; then a wrong
key is answered 429, and a key that was guessed at too often from there is not even compared. A good
key of the same address is let in all the same.
"""

import hashlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from helexa.cortex.gateway.guesses import Guesses
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.protocol.ports import Principal
from helexa.store.key_book import FOR_EVER_S, KeyBook, Standing
from helexa.store.key_text import id_of
from helexa.store.records import Key

REMEMBERED_MAX: Final = 16_384
CREDENTIAL_BYTES_MAX: Final = 256
STALE_AFTER_S: Final = 2.0
"""A book not confirmed for this long may miss a key that was made since."""
_BAD: Final = Refusal(
    ErrorCode.INVALID_API_KEY,
    "Incorrect or missing API key. Send it as 'Authorization: Bearer KEY'.",
)
_UNKNOWABLE: Final = Refusal(
    ErrorCode.SERVICE_UNAVAILABLE,
    "API keys cannot be checked at the moment: the store cannot be read; try again shortly",
)


@dataclass(slots=True)
class _Known:
    """A key whose secret was compared once."""

    key_id: str
    principal: Principal
    until_s: float
    book: KeyBook


class StoreKeys:
    """The authenticator over a `KeyBook` (`protocol.ports.Authenticator`).

    `wall` returns seconds since 1970, `monotonic` seconds that never jump. `secret` are random
    bytes of this process. `stale_max_s`: a book that could not be confirmed for longer opens to
    nobody.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        secret: bytes,
        stale_max_s: float,
    ) -> None:
        self.book: KeyBook | None = None
        self._wall = wall
        self._monotonic = monotonic
        self._stale_max_s = stale_max_s
        self._confirmed_s = self._stale_s = -FOR_EVER_S
        self._known: dict[bytes, _Known] = {}
        self._peers = Guesses()
        self._targets = Guesses()
        self._mac = hashlib.blake2b(key=secret, digest_size=16).copy

    def publish(self, book: KeyBook) -> None:
        """Judge by this book from now on; the one there was, again, confirms it."""
        self.book = book
        self._confirmed_s = self._monotonic()
        self._stale_s = self._confirmed_s + self._stale_max_s

    @property
    def age_s(self) -> float:
        """Seconds since the book was last known to be true; infinite where there is none."""
        return self._monotonic() - self._confirmed_s

    def authenticate(self, credential: bytes | None, peer: str = "") -> Principal | Refusal:
        """Resolve a key, or refuse: alike, whether unknown, wrong, expired or revoked."""
        if not credential:
            return _BAD  # no guess, and wrong whatever the store would say
        if len(credential) > CREDENTIAL_BYTES_MAX:
            return self._refused(peer)
        mac = self._mac()
        mac.update(credential)
        digest = mac.digest()
        known = self._known.get(digest)
        if (
            known is not None
            and known.book is self.book
            and self._wall() < known.until_s
            and self._monotonic() < self._stale_s
        ):
            return known.principal
        return self._judge(credential, digest, peer)

    def _judge(self, credential: bytes, digest: bytes, peer: str) -> Principal | Refusal:
        book = self.book
        if book is None or self._monotonic() >= self._stale_s:
            return _UNKNOWABLE
        known = self._known.get(digest)
        now_s = self._monotonic()
        if known is not None:
            # Its secret was compared; only how the key stands can have changed.
            key: Key | None = book.keys.get(known.key_id)
        else:
            target = f"{origin_of(peer)} {id_of(credential) or ''}"
            wait_s = self._targets.wait_s(target, now_s)
            if wait_s:
                return _slow_down(wait_s)
            key = book.judge(credential, self._wall())[1]
            if key is None:
                self._targets.failed(target, now_s)
        if key is None or book.standing(key, self._wall()) is not Standing.GOOD:
            self._known.pop(digest, None)
            return self._refused(peer)
        return self._remember(digest, key, book)

    def _remember(self, digest: bytes, key: Key, book: KeyBook) -> Principal:
        principal = book.principal_of(key)
        until_s = FOR_EVER_S if key.expires_s is None else key.expires_s
        if len(self._known) >= REMEMBERED_MAX and digest not in self._known:
            del self._known[next(iter(self._known))]
        self._known[digest] = _Known(key.id, principal, until_s, book)
        return principal

    def _refused(self, peer: str) -> Refusal:
        now_s = self._monotonic()
        origin = origin_of(peer)
        wait_s = self._peers.wait_s(origin, now_s)
        self._peers.failed(origin, now_s)
        if wait_s:
            return _slow_down(wait_s)
        # A key that was made while the store could not be read is not in the book.
        return _BAD if self.age_s < STALE_AFTER_S else _UNKNOWABLE


def origin_of(peer: str) -> str:
    """Return who guesses, of `host`, `host:port` or `[host]:port`; of IPv6 the network of 64 bits,
    which is one customer's.
    """
    host = peer[1:].partition("]")[0] if peer.startswith("[") else peer
    if host.count(":") == 1:
        host = host.partition(":")[0]
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = address.ipv4_mapped
    return str(mapped) if mapped is not None else address.packed[:8].hex()


def _slow_down(wait_s: int) -> Refusal:
    because = f"too many wrong API keys from this address; try again in {wait_s} s"
    return Refusal(ErrorCode.RATE_LIMIT_EXCEEDED, because, retry_after_s=wait_s)
