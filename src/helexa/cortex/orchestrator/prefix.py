"""Which replica has lately answered which beginnings of prompts, by hashes of their blocks. Pure.

An engine keeps the attention state of what it has read: a prompt that begins as one it has seen is
computed only from where they part. The gateway cannot see into an engine's cache, but it knows
what was answered where. A prompt is cut at fixed places (`CUTS`), and each block's hash covers all
that comes before it, so two prompts with the same hash at a cut are the same up to there.

    realms.of(tenant) -> realm                whose prompts may be told from whose
    blocks_of(text, model, realm) -> hashes   shallowest first
    index.note(hashes, holder)                this prompt was answered there
    index.holders(hashes) -> {holder: n}      who has seen how many bytes of a prompt

What is common to many conversations, such as a system prompt, must not draw all of them to whoever
read it first: its cache would overflow while others are idle. So a beginning that
`CONVERSATIONS_PER_READING` prompts have gone on from, each in its own way, tells of nobody until
one more replica was sent it. Reading it again there is shared by as many conversations.
"""

import zlib
from collections.abc import Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Final, NamedTuple, NewType

from helexa.protocol.ids import NeuronId

BLOCKS_MAX: Final = 1 << 16
"""Blocks kept in mind over all models, the least recently sent forgotten first; about 25 MB."""
HOLDERS_MAX: Final = 8
"""Replicas kept in mind for one block, the last ones it was sent to."""
CONVERSATIONS_PER_READING: Final = 4
"""Conversations that begin alike before one more replica is to read what they have in common."""

_SPANS: Final = ((2 << 10, 256), (8 << 10, 512), (64 << 10, 2 << 10), (512 << 10, 8 << 10))
"""Up to where blocks have which size, in bytes: a fixed number of cuts covers prompts of any size,
with an error of at most a quarter of what two prompts share."""


def _cuts() -> tuple[int, ...]:
    cuts: list[int] = []
    begin = 0
    for end, size in _SPANS:
        cuts += range(begin + size, end + 1, size)
        begin = end
    return tuple(cuts)


CUTS: Final = _cuts()
"""Where prompts are cut, in bytes from their beginning; what follows the last cut is not hashed."""
_SLICES: Final = tuple(pairwise((0, *CUTS)))


Holder = NewType("Holder", str)
"""A neuron's process, in one text: texts keep their hash, and this is looked up a lot."""


def holder_of(neuron_id: NeuronId, epoch: int) -> Holder:
    """Return a neuron's process as a holder: one that came back as a new process knows nothing."""
    return Holder(f"{epoch} {neuron_id}")


def neuron_of(holder: Holder) -> NeuronId:
    """Return whose process a holder is."""
    return NeuronId(holder.partition(" ")[2])


REALMS_MAX: Final = 4096
"""Tenants whose realm is kept at hand; it is worked out anew for more."""


class Realm(NamedTuple):
    """Whose prompts may be told from another's: hashes of two realms are never equal."""

    seed: int
    """What hashing begins with, 32 bits."""
    tag: int
    """The bits above 32 of every hash: two tenants have the same by a chance of 2**-28."""


EVERYBODY: Final = Realm(0, 0)


class Realms:
    """A realm for each tenant, by a secret that nobody outside this process can guess.

    A hash of one tenant's prompt is worth nothing to another one: neither is its prompt sent where
    the other's was, nor can one make a prompt whose hash is the other's.
    """

    __slots__ = ("_known", "_secret", "shared")

    def __init__(self, secret: bytes = b"", *, shared: bool = False) -> None:
        self._secret = secret
        self._known: dict[str, Realm] = {}
        self.shared = shared
        """All tenants have one realm."""

    def of(self, tenant: str) -> Realm:
        """Return a tenant's realm."""
        if self.shared:
            tenant = ""
        realm = self._known.get(tenant)
        if realm is None:
            digest = blake2b(tenant.encode(), key=self._secret, digest_size=8).digest()
            number = int.from_bytes(digest, "big") >> 4
            realm = Realm(number & 0xFFFF_FFFF, number >> 32 << 32)
            if len(self._known) < REALMS_MAX:
                self._known[tenant] = realm
        return realm


def blocks_of(text: memoryview, model: bytes = b"", realm: Realm = EVERYBODY) -> tuple[int, ...]:
    """Return the hash of every whole block of a prompt, shallowest first.

    The same prompt for another model is another prompt, and so it is in another realm.
    """
    crc32 = zlib.crc32
    value = crc32(model, realm.seed)
    tag = realm.tag
    size_bytes = len(text)
    hashes: list[int] = []
    for begin, end in _SLICES:
        if end > size_bytes:
            break
        value = crc32(text[begin:end], value)
        hashes.append(value | tag)
    return tuple(hashes)


class _Block:
    """Whom a block was sent to, the last one last, and in how many ways prompts went on from it."""

    __slots__ = ("holders", "ways")

    def __init__(self, holder: Holder, ways: int) -> None:
        self.holders: dict[Holder, None] = {holder: None}
        self.ways = ways
        """Blocks that followed this one, counted since it was last sent to a new holder."""


class PrefixIndex:
    """Blocks that replicas have read. Bounded by `blocks_max`, each block by `HOLDERS_MAX`."""

    __slots__ = ("_blocks", "_blocks_max")

    def __init__(self, blocks_max: int = BLOCKS_MAX) -> None:
        self._blocks_max = blocks_max
        self._blocks: dict[int, _Block] = {}
        """By hash, the least recently sent first."""

    def __len__(self) -> int:
        return len(self._blocks)

    def note(self, hashes: Sequence[int], holder: Holder) -> None:
        """Remember that a prompt was sent to a replica.

        Shallow blocks are touched last: then what is forgotten first is the depth of a prompt, and
        whoever has a block has those before it too.
        """
        blocks = self._blocks
        new_way = 0
        for value in reversed(hashes):
            block = blocks.pop(value, None)
            if block is None:
                block = _Block(holder, new_way)
                new_way = 1
            else:
                holders = block.holders
                block.ways += new_way
                new_way = 0
                if holder in holders:
                    del holders[holder]  # to become the last of them again
                else:
                    block.ways = 0
                    if len(holders) >= HOLDERS_MAX:
                        del holders[next(iter(holders))]
                holders[holder] = None
            blocks[value] = block
        while len(blocks) > self._blocks_max:
            del blocks[next(iter(blocks))]

    def holders(self, hashes: Sequence[int]) -> dict[Holder, int]:
        """Return who was sent how many bytes of the beginning of a prompt; who has most first.

        Nobody, where the prompt parts from those before it at a place that is common to many.
        Whoever knows less than the most is looked for at half the depth, a quarter and so on: that
        costs a few look-ups for a prompt of any size, and errs low by less than a half.
        """
        blocks = self._blocks
        low, depth = 0, len(hashes)
        while low < depth:  # every block that is known has those before it known, too
            middle = (low + depth + 1) // 2
            if hashes[middle - 1] in blocks:
                low = middle
            else:
                depth = middle - 1
        found: dict[Holder, int] = {}
        if depth and blocks[hashes[depth - 1]].ways >= CONVERSATIONS_PER_READING:
            return found
        while depth:
            size_bytes = CUTS[depth - 1]
            for holder in blocks[hashes[depth - 1]].holders:
                if holder not in found:
                    found[holder] = size_bytes
            depth //= 2
        return found
