"""A runtime in memory that repeats what it is told: every inference interface, no engine.

The same request gives the same answer, always. For tests and for trying things without a model.
"""

import hashlib
from collections.abc import AsyncIterator

from helexa.model_runtime.echo_text import vector_of
from helexa.model_runtime.interfaces import InferenceError
from helexa.protocol.errors import ErrorCode
from helexa.protocol.inference import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Usage,
)


class DummyRuntime:
    """Implements ChatInference, TextInference, EmbeddingInference and VisionInference.

    A chat is answered with the last user message, word by word; `canned` replaces every text
    answer by a fixed one. A word counts as a token. Raises InferenceError (the caller's fault)
    for a request without messages or inputs.
    """

    def __init__(self, canned: str | None = None) -> None:
        self._canned = canned

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the last user message, up to the request's bound of tokens."""
        words, prompt_tokens = self._answer(request)
        return _response(words, request.tokens_max, prompt_tokens)

    async def chat_stream(self, request: ChatRequest) -> AsyncIterator[str]:
        """Yield the same answer word by word, each but the first with the space before it."""
        words, _ = self._answer(request)
        for index, word in enumerate(_bounded(words, request.tokens_max)):
            yield f" {word}" if index else word

    async def complete(self, request: CompletionRequest) -> ChatResponse:
        """Return the prompt's words, up to the request's bound of tokens."""
        words = request.prompt.split()
        spoken = words if self._canned is None else self._canned.split()
        return _response(spoken, request.max_tokens, len(words))

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Return one vector of 384 numbers and length 1 for each input."""
        inputs = _inputs(request)
        if not inputs:
            raise InferenceError(ErrorCode.INVALID_REQUEST_BODY, "'input' must not be empty")
        tokens = sum(len(text.split()) for text in inputs)
        return EmbeddingResponse(
            vectors=tuple(tuple(vector_of(text)) for text in inputs),
            usage=Usage(prompt_tokens=tokens, completion_tokens=0),
        )

    async def caption(self, image: bytes, media_type: str, prompt: str) -> ChatResponse:
        """Return a sentence that names the image's type, size and fingerprint."""
        if not image:
            raise InferenceError(ErrorCode.INVALID_REQUEST_BODY, "the image has no bytes")
        mark = hashlib.sha256(image).hexdigest()[:8]
        text = self._canned or f"{media_type} of {len(image)} bytes, fingerprint {mark}"
        return _response(text.split(), None, len(prompt.split()))

    def _answer(self, request: ChatRequest) -> tuple[list[str], int]:
        if not request.messages:
            raise InferenceError(ErrorCode.INVALID_REQUEST_BODY, "'messages' must not be empty")
        texts = [_text(message) for message in request.messages]
        asked = next(
            (
                text
                for text, message in zip(reversed(texts), reversed(request.messages), strict=True)
                if message.role == "user"
            ),
            "",
        )
        spoken = asked if self._canned is None else self._canned
        return spoken.split(), sum(len(text.split()) for text in texts)


def _response(words: list[str], tokens_max: int | None, prompt_tokens: int) -> ChatResponse:
    spoken = _bounded(words, tokens_max)
    return ChatResponse(
        text=" ".join(spoken),
        finish_reason="length" if len(spoken) < len(words) else "stop",
        usage=Usage(prompt_tokens=prompt_tokens, completion_tokens=len(spoken)),
    )


def _bounded(words: list[str], tokens_max: int | None) -> list[str]:
    return words if tokens_max is None else words[: max(tokens_max, 0)]


def _text(message: ChatMessage) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return " ".join(str(part.get("text", "")) for part in message.content)


def _inputs(request: EmbeddingRequest) -> list[str]:
    if isinstance(request.input, str):
        return [request.input]
    if request.input and isinstance(request.input[0], int):
        return [repr(request.input)]
    return [each if isinstance(each, str) else repr(each) for each in request.input]
