"""Whether a neuron is there, and which of two that claim the same id it is. Pure.

Two rules. Silence is measured in time since the last frame of any kind, by cortex's own monotonic
clock; a closed socket needs no measuring. And an id belongs to the connection that has it: another
process takes it over only once the holder has fallen silent, so that a copied disk cannot push a
working neuron out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TAKEOVER_INTERVAL_S: Final = 60.0
CLOSE_LOST: Final = 4408
"""Websocket close code for a neuron that was silent for too long."""
CLOSE_REPLACED: Final = 4410
"""Websocket close code for a connection that a newer one of the same neuron replaces."""


@dataclass(frozen=True, slots=True)
class LivenessPolicy:
    """How long silence may last."""

    suspect_after_s: float = 10.0
    """A neuron that was silent this long gets no new requests."""
    lost_after_s: float = 15.0
    """A neuron that was silent this long is gone."""
    forgotten_after_s: float = 600.0
    """A neuron that is gone is shown for this long, then pruned."""


class NeuronState(StrEnum):
    """What cortex knows about a neuron's presence."""

    CONNECTED = "connected"
    SUSPECT = "suspect"
    """Connected but silent for a while: it gets no new requests."""
    LEAVING = "leaving"
    """It said that it is shutting down; what it works on may finish."""
    GONE = "gone"
    """Its socket closed, or it was silent for too long."""
    UNCONFIRMED = "unconfirmed"
    """Remembered from before cortex restarted; not routable until it registers."""


PRESENT: Final = frozenset({NeuronState.CONNECTED, NeuronState.SUSPECT, NeuronState.LEAVING})


def state_after_silence(
    state: NeuronState, silence_s: float, policy: LivenessPolicy
) -> NeuronState:
    """Return the state of a neuron in `state` that was last heard `silence_s` ago."""
    if state not in PRESENT:
        return state
    if silence_s >= policy.lost_after_s:
        return NeuronState.GONE
    if state is NeuronState.LEAVING:
        return state
    return NeuronState.SUSPECT if silence_s >= policy.suspect_after_s else NeuronState.CONNECTED


def next_deadline_s(state: NeuronState, heard_s: float, policy: LivenessPolicy) -> float | None:
    """Return when silence would next change the state, or None if it cannot."""
    if state is NeuronState.CONNECTED:
        return heard_s + policy.suspect_after_s
    return heard_s + policy.lost_after_s if state in PRESENT else None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an id now."""

    epoch: int
    present: bool
    heard_s: float
    taken_over_s: float | None
    """When another process last took the id over from a live connection."""


def refuse_takeover(holder: Holder, epoch: int, now: float, policy: LivenessPolicy) -> str | None:
    """Say why a newcomer with `epoch` may not have the holder's id, or None if it may.

    The same epoch is the same process on a new connection: its old socket is a leftover.
    """
    if not holder.present or epoch == holder.epoch:
        return None
    if epoch < holder.epoch:
        return f"a newer process of this neuron (epoch {holder.epoch}) is connected"
    silence_s = now - holder.heard_s
    if silence_s < policy.suspect_after_s:
        return (
            f"another process with this neuron id is connected and was heard {silence_s:.1f} s ago"
        )
    if holder.taken_over_s is not None and now - holder.taken_over_s < TAKEOVER_INTERVAL_S:
        return f"this neuron id changed hands less than {TAKEOVER_INTERVAL_S:.0f} s ago"
    return None
