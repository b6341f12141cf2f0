"""What who waits for a model is told: how far its load is, and when it should be done. Pure."""

from typing import Final

from helexa.cortex.orchestrator.snapshot import ModelView
from helexa.protocol.errors import ErrorCode, Refusal

WORDS_CHARS_MAX: Final = 200
RETRY_S_MAX: Final = 30
"""Clients obey a Retry-After of up to a minute; by half of it most loads are further on."""


def load_words(model: ModelView, now_s: float) -> str:
    """Return how far a load is, in one line: `40 %, about 12 s left (loading on n1)`."""
    parts = []
    if model.progress is not None:
        parts.append(f"{model.progress * 100:.0f} %")
    left_s = None if model.ready_at_s is None else model.ready_at_s - now_s
    if left_s is not None:
        parts.append(f"about {left_s:.0f} s left" if left_s >= 1 else "nearly done")
    told = ", ".join(parts)
    because = "".join(char if char.isprintable() else " " for char in model.because)
    if told and because:
        told = f"{told} ({because})"
    return (told or because or "about to be loaded")[:WORDS_CHARS_MAX]


def load_comment(model: ModelView, now_s: float) -> bytes:
    """Return the comment that keeps a held stream alive; clients skip comments, people may not."""
    return f": {model.config.id} is loading: {load_words(model, now_s)}\n\n".encode()


def still_loading(model: ModelView | None, waited_s: float, now_s: float) -> Refusal:
    """Return what is answered when a request has waited as long as is allowed."""
    because = f"the model is still loading after {waited_s:g} s"
    retry_after_s = None
    if model is not None:
        because += f": {load_words(model, now_s)}"
        if model.ready_at_s is not None:
            retry_after_s = min(max(round(model.ready_at_s - now_s), 1), RETRY_S_MAX)
    return Refusal(
        ErrorCode.MODEL_LOADING, f"{because}; try again later", retry_after_s=retry_after_s
    )
