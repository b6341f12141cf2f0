"""One answer on its way: bytes of the engine → translation → frames of the tunnel stream.

This is the neuron's hot path. `on_data` is called once for each read of the engine's socket and
does no more than hand bytes on: no task, no await, no clock, no JSON of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from helexa.model_runtime.interfaces import Ending, Failure, Translation
from helexa.neuron.runtime.engine_connection import Exchange, ExchangeError
from helexa.protocol.errors import CODES, ErrorCode
from helexa.protocol.inference import ResponseHead
from helexa.protocol.tunnel import Stream
from helexa.util.errors import describe

_encode: Final = msgspec.json.Encoder().encode

_CODES: Final[dict[ExchangeError, ErrorCode]] = {
    ExchangeError.CONNECT_FAILED: ErrorCode.UPSTREAM_CONNECTION_ERROR,
    ExchangeError.CONNECT_TIMEOUT: ErrorCode.UPSTREAM_CONNECTION_ERROR,
    ExchangeError.CONNECTION_LOST: ErrorCode.UPSTREAM_CONNECTION_ERROR,
    ExchangeError.SILENT: ErrorCode.UPSTREAM_TIMEOUT,
    ExchangeError.MALFORMED: ErrorCode.ENGINE_GARBAGE,
    ExchangeError.TOO_LARGE: ErrorCode.ENGINE_GARBAGE,
    ExchangeError.CROWDED: ErrorCode.SERVICE_UNAVAILABLE,
    ExchangeError.CLOSED: ErrorCode.SHUTTING_DOWN,
}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Why there is no (whole) answer. `failure` is for the caller, `detail` only for our log."""

    failure: Failure
    detail: str
    lost: bool = False
    """The connection broke after the engine had the request."""
    silent: bool = False
    """Nothing came for as long as is allowed."""


class ReplyOwner(Protocol):
    """What a reply tells the request that it answers: `answered` or `failed`, once."""

    def answered(self, ending: Ending, head: ResponseHead | None, data: bytes) -> None:
        """The answer is whole: send its last bytes, and its head if that did not go out yet."""
        ...

    def failed(self, breakdown: Breakdown) -> None:
        """There is no (whole) answer."""
        ...

    def first_token(self) -> None:
        """The first token went out."""
        ...


class Reply:
    """The listener of one engine exchange."""

    __slots__ = (
        "_exchange", "_head_sent", "_over", "_owner", "_produced", "_stream", "_translate",
        "translation",
    )  # fmt: skip

    def __init__(self, owner: ReplyOwner, stream: Stream, translation: Translation) -> None:
        self._owner = owner
        self._stream = stream
        self.translation = translation
        self._translate: Callable[[bytes], bytes] = translation.on_data
        self._exchange: Exchange | None = None
        self._head_sent = False
        self._produced = False
        self._over = False

    def attach(self, exchange: Exchange) -> None:
        """Say which exchange this listens to."""
        self._exchange = exchange

    @property
    def head_sent(self) -> bool:
        """The caller has a status; from here on a failure can only cut the stream."""
        return self._head_sent

    def cancel(self) -> None:
        """Nobody waits any more: close the engine's connection at once."""
        self._over = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    def resume(self) -> None:
        """The peer takes bytes again."""
        if self._exchange is not None:
            self._exchange.resume_reading()

    def expect_within(self, silence_s: float) -> None:
        """Tolerate this much silence of the engine from now on."""
        if self._exchange is not None:
            self._exchange.silence_limit_s = silence_s

    # ── ExchangeListener ──────────────────────────────────────────────────────────────────────

    def on_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Translate all of an answer before any of it goes out."""
        translation = self.translation
        data = b""
        try:
            translation.on_head(status, headers)
            if body and translation.failure is None:
                data = self._translate(body)
            if translation.failure is not None:
                self._fail(translation.failure)
                return
            ending = translation.on_end(complete=True)
        except Exception as error:  # noqa: BLE001  the engine's bytes must not end other streams
            self._garbage(error)
            return
        self._end(ending, data + ending.data if ending.data else data)

    def on_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Let the translation decide what the caller is told."""
        translation = self.translation
        try:
            translation.on_head(status, headers)
        except Exception as error:  # noqa: BLE001  the engine's bytes must not end other streams
            self._garbage(error)
            return
        if translation.head is not None:
            self._send_head(translation.head)
        if translation.failure is not None:
            self._fail(translation.failure)

    def on_data(self, data: bytes) -> None:
        """Pass on what the translation makes of one read."""
        try:
            out = self._translate(data)
        except Exception as error:  # noqa: BLE001  the engine's bytes must not end other streams
            self._garbage(error)
            return
        translation = self.translation
        if not self._head_sent and translation.head is not None:
            self._send_head(translation.head)
        if out:
            stream = self._stream
            stream.send_data(out)
            if stream.congested and self._exchange is not None:
                self._exchange.pause_reading()
        if not self._produced and translation.produced:
            self._produced = True
            self._owner.first_token()
        if translation.failure is not None:
            self._fail(translation.failure)

    def on_end(self, *, complete: bool) -> None:
        """Let the translation end the answer: by its last bytes, or by a failure."""
        if self._over:
            return
        try:
            ending = self.translation.on_end(complete=complete)
        except Exception as error:  # noqa: BLE001  the engine's bytes must not end other streams
            self._garbage(error)
            return
        self._end(ending, ending.data, lost=not complete)

    def on_error(self, kind: ExchangeError, message: str) -> None:
        """There will be no more bytes."""
        if self._over:
            return
        self._over = True
        self._owner.failed(
            Breakdown(
                _failure(_CODES[kind]),
                message,
                lost=kind is ExchangeError.CONNECTION_LOST,
                silent=kind is ExchangeError.SILENT,
            )
        )

    # ── inside ────────────────────────────────────────────────────────────────────────────────

    def _end(self, ending: Ending, data: bytes, *, lost: bool = False) -> None:
        """The translation is done; `data` is what did not go out yet."""
        translation = self.translation
        head = translation.head
        if ending.failure is not None:
            self._fail(ending.failure, lost=lost)
        elif head is None:
            self._fail(_failure(ErrorCode.ENGINE_GARBAGE), "the answer ended without a status")
        else:
            if not self._produced and translation.produced:
                self._produced = True
                self._owner.first_token()
            self._over = True
            self._exchange = None
            self._owner.answered(ending, None if self._head_sent else head, data)

    def _send_head(self, head: ResponseHead) -> None:
        if not self._head_sent:
            self._head_sent = True
            self._stream.send_head(_encode(head))

    def _garbage(self, error: Exception) -> None:
        self._fail(_failure(ErrorCode.ENGINE_GARBAGE), describe(error))

    def _fail(self, failure: Failure, detail: str = "", *, lost: bool = False) -> None:
        if self._over:
            return
        self.cancel()
        self._owner.failed(
            Breakdown(failure, detail or failure.detail or failure.message, lost=lost)
        )


def _failure(code: ErrorCode) -> Failure:
    """Return an engine's failure in the table's words: the engine's own may hold paths or text."""
    return Failure(code, CODES[code].text)
