"""A model behind an HTTP server, as objects: OpenAI-style POSTs to a base URL.

For the readiness canary, in-process use and tests; the requests of callers take the byte way
(`EngineDescription.call`). Cancelling the awaiting task closes the connection, which is how an
engine learns that nobody waits any more.
"""

import base64
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from helexa.model_runtime.engines.counting import UsageBody
from helexa.model_runtime.engines.failures import ERROR_BODY_BYTES_MAX, failure_of
from helexa.model_runtime.interfaces import InferenceError
from helexa.protocol.errors import CODES, ErrorCode
from helexa.protocol.inference import (
    ChatRequest,
    ChatResponse,
    CompletionRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Usage,
)
from helexa.protocol.sse import EventSplitter, EventTooLargeError, data_of

ANSWER_BYTES_MAX: Final = 64 << 20
_T = TypeVar("_T")
_JSON_ERRORS: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message = msgspec.field(default_factory=_Message)
    delta: _Message = msgspec.field(default_factory=_Message)
    text: str | None = None
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: UsageBody | None = None


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int = 0


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: UsageBody | None = None


class ProcessRuntime:
    """Implements ChatInference, TextInference, EmbeddingInference and VisionInference.

    `timeout_s` bounds the silence between two reads of an answer, not its length. `model` replaces
    the model that requests name. The session is the owner's: it is not closed here.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        endpoint: str,
        *,
        timeout_s: float,
        model: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._endpoint = endpoint.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=timeout_s, sock_read=timeout_s
        )
        self._model = model
        self._headers = dict(headers or {})

    async def chat(self, request: ChatRequest) -> ChatResponse:
        """Return the whole answer; raises InferenceError."""
        return await self._ask("/v1/chat/completions", self._fields(request, stream=False))

    async def chat_stream(self, request: ChatRequest) -> AsyncIterator[str]:
        """Yield the answer's text as it comes; raises InferenceError, also for a cut stream."""
        body = self._fields(request, stream=True)
        async with (
            self._posted("/v1/chat/completions", body) as response,
            aclosing(_events(response)) as events,
        ):
            async for payload in events:
                if payload == b"[DONE]":
                    return
                for choice in _decoded(payload, _Answer).choices[:1]:
                    if choice.delta.content:
                        yield choice.delta.content
        raise _error(ErrorCode.UPSTREAM_CONNECTION_ERROR, "the stream ended without its end mark")

    async def complete(self, request: CompletionRequest) -> ChatResponse:
        """Return the continuation, without the prompt; raises InferenceError."""
        return await self._ask("/v1/completions", self._fields(request, stream=False))

    async def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Return one vector per input, in input order; raises InferenceError."""
        body = self._fields(request)
        async with self._posted("/v1/embeddings", body) as response:
            answer = _decoded(await _whole(response), _Vectors)
        vectors = [_numbers(one) for one in sorted(answer.data, key=lambda one: one.index)]
        return EmbeddingResponse(vectors=tuple(vectors), usage=_usage(answer.usage))

    async def caption(self, image: bytes, media_type: str, prompt: str) -> ChatResponse:
        """Return a text about the image; raises InferenceError."""
        url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
        content = [
            {"type": "text", "text": prompt},
            {"type": "image_url", "image_url": {"url": url}},
        ]
        body = {"model": self._model or "", "messages": [{"role": "user", "content": content}]}
        return await self._ask("/v1/chat/completions", body)

    def _fields(self, request: msgspec.Struct, **changes: Any) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(request) | changes
        if self._model is not None:
            fields["model"] = self._model
        return fields

    async def _ask(self, path: str, body: dict[str, Any]) -> ChatResponse:
        async with self._posted(path, body) as response:
            answer = _decoded(await _whole(response), _Answer)
        if not answer.choices:
            raise _error(ErrorCode.ENGINE_GARBAGE, "the answer has no choices")
        choice = answer.choices[0]
        text = choice.text if choice.text is not None else choice.message.content
        return ChatResponse(
            text=text or "",
            finish_reason=choice.finish_reason or "",
            usage=_usage(answer.usage),
        )

    @asynccontextmanager
    async def _posted(
        self, path: str, body: dict[str, Any]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; every way in which it can fail leaves as InferenceError."""
        try:
            async with self._request(path, body) as response:
                if response.status != 200:
                    told = await response.content.read(ERROR_BODY_BYTES_MAX)
                    failure = failure_of(response.status, told)
                    raise _error(failure.code, failure.message)
                yield response
        except TimeoutError as error:
            raise _error(ErrorCode.UPSTREAM_TIMEOUT, "the model did not answer in time") from error
        except aiohttp.ClientError as error:
            raise _error(
                ErrorCode.UPSTREAM_CONNECTION_ERROR, "the connection to the model failed"
            ) from error

    def _request(
        self, path: str, body: dict[str, Any]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.post(
            self._endpoint + path,
            data=msgspec.json.encode(body),
            headers={**self._headers, "content-type": "application/json"},
            timeout=self._timeout,
            allow_redirects=False,
        )


async def _events(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield the payload of each event; an error event raises InferenceError."""
    splitter = EventSplitter()
    async for data in response.content.iter_any():
        try:
            events = splitter.feed(data)
        except EventTooLargeError as error:
            raise _error(ErrorCode.ENGINE_GARBAGE, "an event is too large") from error
        for event in events:
            payload = data_of(event)
            if payload is None:
                continue
            if payload.startswith(b'{"error"'):
                failure = failure_of(500, payload)
                raise _error(failure.code, failure.message)
            yield payload


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the whole body, which is bounded."""
    body = bytearray()
    async for data in response.content.iter_any():
        body += data
        if len(body) > ANSWER_BYTES_MAX:
            raise _error(ErrorCode.ENGINE_GARBAGE, f"the answer has over {ANSWER_BYTES_MAX} bytes")
    return bytes(body)


def _decoded(data: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except _JSON_ERRORS as error:
        raise _error(ErrorCode.ENGINE_GARBAGE, "the answer could not be understood") from error


def _numbers(vector: _Vector) -> tuple[float, ...]:
    if not isinstance(vector.embedding, str):
        return tuple(vector.embedding)
    try:
        packed = base64.b64decode(vector.embedding, validate=True)
        return struct.unpack(f"<{len(packed) // 4}f", packed)
    except (ValueError, struct.error) as error:
        raise _error(ErrorCode.ENGINE_GARBAGE, "a vector could not be understood") from error


def _usage(told: UsageBody | None) -> Usage | None:
    return None if told is None else told.usage()


def _error(code: ErrorCode, message: str) -> InferenceError:
    return InferenceError(code, message, retryable=CODES[code].retry_after_s is not None)
