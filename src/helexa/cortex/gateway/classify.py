"""Which class of work a request is: its operation, and how much of it there is. Pure."""

from dataclasses import dataclass
from typing import Final

from helexa.protocol.dialects.openai import CHARACTERS_PER_TOKEN_MAX, RequestHead
from helexa.protocol.workload import Operation, WorkloadClass

CHARACTERS_PER_TOKEN: Final = 4
"""What prose and code have on average; a guess is enough to tell a page from a book."""
_MIN_TO_LIKELY: Final = CHARACTERS_PER_TOKEN_MAX // CHARACTERS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class BulkThresholds:
    """From which size on a chat is bulk work."""

    prompt_tokens: int = 32_768
    """Of the prompt, estimated by its characters."""
    tokens_max: int = 16_384
    """The caller's own bound on new tokens, of an answer that is not streamed: who streams reads
    along, and coding tools ask for room that they hardly use."""


def workload_class(head: RequestHead, bulk: BulkThresholds) -> WorkloadClass:
    """Return the class that a request is scheduled as; plain completions count as chat.

    A chat with a long prompt, or with much room for an answer that nobody watches, is `ChatBulk`:
    it goes after interactive work where requests wait. The caller's priority is not a class.
    """
    if head.operation is Operation.EMBEDDINGS:
        return WorkloadClass.EMBEDDING
    if head.vision:
        return WorkloadClass.VISION_CAPTION
    likely_tokens = head.prompt_tokens_min * _MIN_TO_LIKELY
    room_tokens = 0 if head.stream or head.tokens_max is None else head.tokens_max
    if likely_tokens >= bulk.prompt_tokens or room_tokens >= bulk.tokens_max:
        return WorkloadClass.CHAT_BULK
    return WorkloadClass.CHAT_INTERACTIVE
