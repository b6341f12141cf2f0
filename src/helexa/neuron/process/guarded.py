"""One process under its guard, seen from the neuron: its output, its end, and how to end it."""

import asyncio
import json
from pathlib import Path
from typing import Any, Final, cast

from helexa.neuron.process import table
from helexa.neuron.process.exits import GUARD_LOST, ExitDescription, describe_exit
from helexa.neuron.process.output import OutputRing
from helexa.util.errors import HelexaError

GUARD_PATH: Final = Path(__file__).resolve().parent / "guard.py"
STARTED_S_MAX: Final = 20.0
"""From the start of the guard's interpreter to its word that the program runs."""
LATE_S_MAX: Final = 5.0
"""Beyond a grace period, until the guard itself is taken for stuck."""
OUTPUT_END_S: Final = 1.0
NEWS_BYTES_MAX: Final = 1 << 16


class StartError(HelexaError, OSError):
    """A program could not be started."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, error_id="HX-2303", hint=hint)


class GuardedProcess(asyncio.SubprocessProtocol):
    """A guard and the program that it runs. Made by `helexa.neuron.process.spawn` only."""

    def __init__(self, output: OutputRing | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.output = output if output is not None else OutputRing()
        self.pid = 0
        """Of the program; also its process group and session."""
        self._transport: asyncio.SubprocessTransport | None = None
        self._news = b""
        self._asked = False
        self._oom_kills = table.oom_kills()
        self._exit: ExitDescription | None = None
        self._started: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[ExitDescription] = loop.create_future()
        # A failure that nobody waits for any more is no news.
        self._started.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._output_ended = asyncio.Event()
        self._is_reaped = False
        self._news_ended = False

    # ── told by the event loop ────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The guard runs."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Output of the program (1) or news of the guard (2)."""
        if fd == 1:
            self.output.feed(data)
            return
        self._news += data
        *lines, self._news = self._news.split(b"\n")
        for line in lines:
            self._hear(line)
        if len(self._news) > NEWS_BYTES_MAX:
            self._news = b""

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """The program closed its output, or the guard is gone."""
        if fd == 1:
            self._output_ended.set()
        elif fd == 2:
            self._news_ended = True
            self._finish()

    def process_exited(self) -> None:
        """The guard is gone and reaped; what it said last may still be on its way."""
        self._is_reaped = True
        self._finish()

    def _finish(self) -> None:
        if not (self._is_reaped and self._news_ended):
            return
        if not self._started.done():
            tail = self._news.decode("utf-8", "replace").strip()[-500:]
            self._started.set_exception(StartError(f"the guard process ended at once: {tail}"))
        if not self._ended.done():
            self._ended.set_result(self._exit or GUARD_LOST)

    def _hear(self, line: bytes) -> None:
        try:
            news: dict[str, Any] = json.loads(line)
            event = news["event"]
        except (ValueError, TypeError, KeyError):
            # A traceback of the guard; kept, so that a fault of ours can be found.
            self.output.feed(line + b"\n")
            return
        if event == "started":
            self.pid = int(news["pid"])
            if not self._started.done():
                self._started.set_result(None)
        elif event == "refused" and not self._started.done():
            self._started.set_exception(StartError(f"it cannot be run: {news['because']}"))
        elif event == "exited":
            oom = table.oom_kills() > self._oom_kills
            self._exit = describe_exit(int(news["status"]), asked=self._asked, out_of_memory=oom)

    # ── for the neuron ────────────────────────────────────────────────────────────────────────

    @property
    def has_ended(self) -> bool:
        """The program is gone and reaped."""
        return self._ended.done()

    async def begin(self, order: bytes) -> None:
        """Give the guard its order and wait until the program runs; raises StartError."""
        self._write(order)
        try:
            async with asyncio.timeout(STARTED_S_MAX):
                await asyncio.shield(self._started)
        except TimeoutError:
            raise StartError(f"it did not start within {STARTED_S_MAX:g} s") from None

    async def wait(self) -> ExitDescription:
        """Wait for the end of the program and of its output; return how it ended."""
        ended = await asyncio.shield(self._ended)
        try:
            async with asyncio.timeout(OUTPUT_END_S):
                await self._output_ended.wait()
        except TimeoutError:
            pass  # somebody else holds the pipe; what was read is all there will be
        if self._transport is not None:
            self._transport.close()
        return ended

    async def stop(self, grace_s: float) -> ExitDescription:
        """Ask the whole group to end, kill it after `grace_s`, wait until all of it is gone."""
        self.ask_to_stop(grace_s)
        try:
            async with asyncio.timeout(grace_s + LATE_S_MAX):
                return await self.wait()
        except TimeoutError:
            self.kill_all()
        return await self.wait()

    def ask_to_stop(self, grace_s: float) -> None:
        """Start the end of the program without waiting for it."""
        self._asked = True
        self._write(json.dumps({"stop": grace_s}).encode() + b"\n")

    def kill_all(self) -> None:
        """Kill program and guard by ourselves: the guard does not do its work."""
        if self._transport is None or self.has_ended:
            return
        guard_pid = self._transport.get_pid()
        for pid in [*table.members(self.pid or guard_pid), guard_pid]:
            table.kill(pid)

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            return
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is not None and not pipe.is_closing():
            pipe.write(data)
