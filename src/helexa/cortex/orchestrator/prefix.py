"""Which replica was recently sent which beginnings of prompts, by hashes of their blocks. Pure.

An engine keeps the attention state of what it has read: a prompt that begins as one it has seen is
computed only from where they part. The gateway cannot see into an engine's cache, but it knows
what it sent where. A prompt is cut at fixed places (`CUTS`), and each block's hash covers all that
comes before it, so two prompts with the same hash at a cut are the same up to there.

    blocks_of(text, seed) -> hashes, shallowest first
    index.note(hashes, neuron, epoch)        this prompt went there
    index.holders(hashes) -> {neuron: Held}  who has seen how much of a prompt
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from helexa.protocol.ids import NeuronId

BLOCKS_MAX: Final = 1 << 16
"""Blocks kept in mind over all models, the least recently sent forgotten first; about 25 MB."""
HOLDERS_MAX: Final = 8
"""Replicas kept in mind for one block, the last ones it was sent to."""
HOLDERS_FOUND_MAX: Final = 16
"""Replicas that one search returns: those that know most of the prompt."""

_SPANS: Final = ((8 << 10, 512), (64 << 10, 2 << 10), (512 << 10, 8 << 10))
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


class Held(NamedTuple):
    """How much of a prompt a replica has been sent before."""

    size_bytes: int
    epoch: int
    """Of the neuron's process that was sent it."""


def blocks_of(text: memoryview, seed: bytes = b"") -> tuple[int, ...]:
    """Return the hash of every whole block of a prompt, shallowest first.

    `seed` keeps apart what must not be mixed: the same prompt for another model is another prompt.
    """
    crc32 = zlib.crc32
    value = crc32(seed)
    size_bytes = len(text)
    hashes: list[int] = []
    for begin, end in _SLICES:
        if end > size_bytes:
            break
        value = crc32(text[begin:end], value)
        hashes.append(value)
    return tuple(hashes)


class PrefixIndex:
    """Blocks that replicas were sent. Bounded by `blocks_max`, each block by `HOLDERS_MAX`."""

    __slots__ = ("_blocks", "_blocks_max")

    def __init__(self, blocks_max: int = BLOCKS_MAX) -> None:
        self._blocks_max = blocks_max
        self._blocks: dict[int, dict[NeuronId, int]] = {}
        """By hash, the least recently sent first: the epochs of the neurons it was sent to."""

    def __len__(self) -> int:
        return len(self._blocks)

    def note(self, hashes: Sequence[int], neuron_id: NeuronId, epoch: int) -> None:
        """Remember that a prompt was sent to a replica.

        Shallow blocks are touched last: then what is forgotten first is the depth of a prompt, and
        whoever has a block has those before it too.
        """
        blocks = self._blocks
        for value in reversed(hashes):
            holders = blocks.pop(value, None)
            if holders is None:
                holders = {}
            elif neuron_id in holders:
                del holders[neuron_id]  # to become the last of them again
            elif len(holders) >= HOLDERS_MAX:
                del holders[next(iter(holders))]
            holders[neuron_id] = epoch
            blocks[value] = holders
        while len(blocks) > self._blocks_max:
            del blocks[next(iter(blocks))]

    def holders(self, hashes: Sequence[int]) -> Mapping[NeuronId, Held]:
        """Return who was sent the beginning of a prompt, and how much of it; deepest first."""
        found: dict[NeuronId, Held] = {}
        blocks = self._blocks
        depth = len(hashes)
        last: Iterable[NeuronId] = ()
        for value in reversed(hashes):
            depth -= 1
            holders = blocks.get(value)
            if holders is None or holders.keys() == last:
                continue
            last = holders.keys()
            for neuron_id, epoch in holders.items():
                if neuron_id not in found:
                    found[neuron_id] = Held(CUTS[depth], epoch)
            if len(found) >= HOLDERS_FOUND_MAX:
                break
        return found
