"""What kind of work a request is: the API operation, and the class it is scheduled as."""

from enum import StrEnum
from typing import Final


class Operation(StrEnum):
    """An API operation that a neuron can execute."""

    __hash__ = str.__hash__  # the inherited one is Python code, 0.3 µs a look-up

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"
    MESSAGES = "messages"
    """A chat as Anthropic's API says it; a neuron gets it as `CHAT`, in that dialect."""
    RESPONSES = "responses"
    """A chat as OpenAI's Responses API says it; a neuron gets it as `CHAT`, too."""
    COUNT_TOKENS = "count_tokens"
    """How long a chat's prompt is; nothing is generated."""


class Workload(StrEnum):
    """What a model can be used for."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDINGS = "embeddings"
    VISION = "vision"


class WorkloadClass(StrEnum):
    """How a request is scheduled.

    A class that this version does not know reads as `OTHER`; `ChatBatch` is an alias of
    `ChatBulk` from the roadmap.
    """

    __hash__ = str.__hash__  # the inherited one is Python code, 0.3 µs a look-up

    CHAT_INTERACTIVE = "ChatInteractive"
    CHAT_BULK = "ChatBulk"
    EMBEDDING = "Embedding"
    VISION_CAPTION = "VisionCaption"
    OTHER = "Other"

    @classmethod
    def _missing_(cls, value: object) -> "WorkloadClass":
        return cls.CHAT_BULK if value == "ChatBatch" else cls.OTHER


WORKLOAD_OF_OPERATION: Final = {
    Operation.CHAT: Workload.CHAT,
    Operation.COMPLETION: Workload.COMPLETION,
    Operation.EMBEDDINGS: Workload.EMBEDDINGS,
    Operation.MESSAGES: Workload.CHAT,
    Operation.RESPONSES: Workload.CHAT,
    Operation.COUNT_TOKENS: Workload.CHAT,
}
