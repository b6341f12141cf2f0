"""Makes an answer the next part of a stream that another neuron began. Pure.

The caller has had the assistant's role, and chunks of one id and time: so the role is taken off,
and the new chunks get that id and time. Text that the caller has is not said again.
"""

from typing import Any

from helexa.model_runtime.engines.chunks import Delta
from helexa.protocol.inference import Continued


class Splice:
    """The seam of one stream of one choice."""

    __slots__ = ("_continued", "_overlap")

    def __init__(self, continued: Continued) -> None:
        self._continued = continued
        self._overlap = continued.overlap

    def mark(self, fields: dict[str, Any]) -> None:
        """Give a chunk the id and time of the stream."""
        fields["id"] = self._continued.id
        fields["created"] = self._continued.created

    def strip(self, delta: Delta, told: dict[str, Any]) -> bool:
        """Take off what the caller has, in place; tell whether there was any."""
        had_role = delta.role is not None
        if had_role:
            delta.role = None
            told.pop("role", None)
        content = delta.content
        if not content or not self._overlap:
            return had_role
        shared = 0
        for mine, theirs in zip(content, self._overlap, strict=False):
            if mine != theirs:
                break
            shared += 1
        # Past the first letter that differs there is nothing to take off any more.
        self._overlap = self._overlap[shared:] if shared == len(content) else ""
        if shared:
            delta.content = told["content"] = content[shared:]
        return had_role or bool(shared)
