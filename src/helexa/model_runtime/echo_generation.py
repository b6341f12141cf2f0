"""The echo server's answers on their way out: paced, paused, broken on purpose, counted."""

import asyncio
import os
from collections import deque
from typing import Any, Final, Protocol

import msgspec

from helexa.model_runtime.echo_answer import Answer, Faults

REQUESTS_REMEMBERED: Final = 4096
TOKENS_PER_TURN: Final = 64
"""Of an unpaced stream, so that streams take turns."""
_encode: Final = msgspec.json.Encoder().encode


class Server:
    """What all connections share: settings, readiness and counts."""

    def __init__(self, faults: Faults, model_id: str, api_key: str) -> None:
        self.faults = faults
        self.model_id = model_id
        self.api_key = api_key
        self.ready_s: float | None = None
        """Monotonic time of being ready, for trials of what a neuron makes of it."""
        self.received = 0
        self.finished = 0
        self.aborted = 0
        self.active = 0
        self.request_ids: deque[str] = deque(maxlen=REQUESTS_REMEMBERED)

    def become_ready(self, now_s: float) -> None:
        """Say from now on that requests can be served; `now_s` is monotonic."""
        self.ready_s = now_s

    @property
    def ready(self) -> bool:
        """Tell whether requests can be served."""
        return self.ready_s is not None

    def stats(self) -> dict[str, Any]:
        """Return the counts of generations since the start."""
        return {
            "received": self.received,
            "finished": self.finished,
            "aborted": self.aborted,
            "active": self.active,
            "process_id": os.getpid(),
            "ready_s": self.ready_s,
            "request_ids": list(self.request_ids),
        }


class Channel(Protocol):
    """Where an answer is written to."""

    def begin_stream(self) -> None:
        """Send the head of a streamed answer."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes as they are, if the client is still there."""
        ...

    def reply_body(self, body: bytes) -> None:
        """Send a whole answer."""
        ...

    def generation_ended(self) -> None:
        """The answer is complete."""
        ...


class Generation:
    """One answer on its way out, paced by the loop's timer."""

    def __init__(
        self,
        channel: Channel,
        server: Server,
        answer: Answer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._channel = channel
        self._server = server
        self._answer = answer
        self._loop = loop
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._first_s = 0.0
        self._sent = 0
        self._ended = False
        self._paused = False

    def start(self) -> None:
        """Begin: the head at once, the first token after its delay."""
        self._server.active += 1
        if self._answer.stream:
            self._channel.begin_stream()
            self._send(self._answer.opening())
        delay_s = self._server.faults.first_token_delay_ms / 1000
        self._first_s = self._loop.time() + delay_s
        self._timer = self._loop.call_at(self._first_s, self._step)

    def pause(self) -> None:
        """Stop until `resume`."""
        self._paused = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def resume(self) -> None:
        """Go on where it stopped; tokens that fell due meanwhile come at once."""
        self._paused = False
        if self._timer is None and not self._ended:
            self._timer = self._loop.call_at(self._first_s, self._step)

    def abort(self) -> None:
        """The client left: stop and count it."""
        self.pause()
        if not self._ended:
            self._ended = True
            self._server.active -= 1
            self._server.aborted += 1

    def _step(self) -> None:
        """Send the tokens that are due, then set the timer for the next."""
        self._timer = None
        faults, answer = self._server.faults, self._answer
        due = self._due(answer.tokens)
        stop = min(due, *faults.at_tokens(answer.tokens))
        if stop > self._sent:
            self._send(answer.token_events(self._sent, stop))
            self._sent = stop
        if faults.strikes(self._sent):
            self._strike()
        elif self._sent >= answer.tokens:
            self._finish()
        elif not (self._ended or self._paused):  # what was just written may have paused us
            self._timer = self._next()

    def _due(self, tokens: int) -> int:
        rate = self._server.faults.tokens_per_second
        if rate <= 0:
            return min(tokens, self._sent + TOKENS_PER_TURN)
        return min(tokens, 1 + int((self._loop.time() - self._first_s) * rate))

    def _next(self) -> asyncio.TimerHandle | asyncio.Handle:
        rate = self._server.faults.tokens_per_second
        if rate <= 0:
            return self._loop.call_soon(self._step)
        return self._loop.call_at(self._first_s + self._sent / rate, self._step)

    def _strike(self) -> None:
        """Do the one fault that is due at this token."""
        faults = self._server.faults
        if faults.crash_at_token == self._sent:
            die()
        elif faults.truncate_at_token == self._sent:
            self._break_off()
        elif faults.garbage_at_token == self._sent:
            self._send(self._answer.garbage(faults.garbage))
            self._finish(broken=True)
        # stall_at_token: nothing more, until the client leaves

    def _break_off(self) -> None:
        """End the body as if all were well, but before the answer is whole."""
        if self._answer.stream:
            self._end(b"0\r\n\r\n")
        else:
            self._finish(broken=True)

    def _finish(self, *, broken: bool = False) -> None:
        if not self._answer.stream:
            self._count_end()
            whole = _encode(self._answer.whole())
            self._channel.reply_body(whole[: len(whole) // 2] if broken else whole)
            self._channel.generation_ended()
            return
        self._send(self._answer.closing())
        self._end(b"0\r\n\r\n")

    def _end(self, last: bytes) -> None:
        self._count_end()
        self._channel.write(last)
        self._channel.generation_ended()

    def _count_end(self) -> None:
        self._ended = True
        self._server.active -= 1
        self._server.finished += 1

    def _send(self, data: bytes) -> None:
        if data and self._answer.stream:
            self._channel.write(b"%x\r\n%b\r\n" % (len(data), data))


def die() -> None:
    """End the process at once, as a crash does: no unwinding, nothing flushed."""
    os._exit(134)
