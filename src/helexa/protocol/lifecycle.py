"""The life of a model on a neuron, as one table that both sides share.

    unloaded ──► loading ──► loaded ──► unloading ──► unloaded
                   │           │            │
                   └───────────┴────► failed ┘   failed ──► loading | unloaded

An illegal step reported by a peer is the peer's fault (`PeerError`); one of our own is a bug.
"""

from enum import StrEnum
from typing import Final


class ModelState(StrEnum):
    """Where a model is in its life."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    FAILED = "failed"


STEPS: Final[dict[ModelState, frozenset[ModelState]]] = {
    ModelState.UNLOADED: frozenset({ModelState.LOADING, ModelState.FAILED}),
    ModelState.LOADING: frozenset({ModelState.LOADED, ModelState.FAILED, ModelState.UNLOADING}),
    ModelState.LOADED: frozenset({ModelState.UNLOADING, ModelState.FAILED, ModelState.LOADING}),
    ModelState.UNLOADING: frozenset({ModelState.UNLOADED, ModelState.FAILED}),
    ModelState.FAILED: frozenset({ModelState.LOADING, ModelState.UNLOADED}),
}


class IllegalStepError(ValueError):
    """A model was asked to go from one state to another that does not follow it."""


def is_legal(before: ModelState, after: ModelState) -> bool:
    """Tell whether `after` may follow `before`; staying is always legal."""
    return before is after or after in STEPS[before]


def step(before: ModelState, after: ModelState) -> ModelState:
    """Return `after`, or raise IllegalStepError where the table does not allow it."""
    if not is_legal(before, after):
        allowed = ", ".join(sorted(STEPS[before]))
        raise IllegalStepError(f"{before} cannot become {after}; allowed: {allowed}")
    return after
