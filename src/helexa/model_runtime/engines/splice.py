"""Makes an answer the next part of a stream that another neuron began. Pure.

The caller has had the assistant's role, and chunks of one id and time: so the role is taken off,
and the new chunks get that id and time. Text that the caller has is not said again.
"""

from typing import Any

import msgspec

from helexa.model_runtime.engines.body import Body, trailing_assistant_text
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


def without_space_at_end(body: Body, continued: Continued) -> Continued:
    """Leave the space at the end of the text so far to the engine, which then says it again.

    For engines whose chat template may trim a message: half of them do (Llama 3, Gemma), and then
    what was trimmed would come twice.
    """
    text = trailing_assistant_text(body)
    kept = text.rstrip() if text is not None else ""
    if text is None or len(kept) == len(text):
        return continued
    turns = msgspec.json.decode(body.raw("messages") or b"[]", type=list[msgspec.Raw])[:-1]
    if kept:
        turns.append(msgspec.Raw(msgspec.json.encode({"role": "assistant", "content": kept})))
    body.set("messages", turns)
    return msgspec.structs.replace(continued, overlap=text[len(kept) :])
