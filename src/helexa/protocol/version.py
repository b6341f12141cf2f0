"""The version of the cortex–neuron protocol and how two sides agree on one.

A side speaks every version from `VERSION_MIN` to `VERSION`. The neuron offers its range in
`register`; cortex answers `welcome` with the highest version both speak, or closes with a reason.
Within a version, unknown fields are ignored and unknown message kinds are answered by `error`.
"""

from typing import Final

VERSION: Final = 3
VERSION_MIN: Final = 1
VERSION_ANSWER: Final = 2
"""From here on a neuron may send a whole answer in one frame of the tunnel."""
VERSION_CONTINUES: Final = 3
"""From here on a neuron knows what to do with `OpenHead.continues`: an older one would tell a
second role, another id, and text that the caller has."""


def negotiate(peer_min: int, peer_max: int) -> int | None:
    """Return the highest version that both sides speak, or None where there is none."""
    best = min(VERSION, peer_max)
    return best if best >= max(VERSION_MIN, peer_min) else None
