"""Serves a small ASGI app on sockets that are bound already. Never on the hot path."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

import uvicorn

from helexa.util.errors import describe
from helexa.util.tasks import TaskScope

CONNECTIONS_MAX: Final = 256
KEEP_ALIVE_S: Final = 15
STOP_S: Final = 2


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to the process that has it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signals."""
        yield


class AsgiServer:
    """One listening app. `name` is for its log lines; `logger` is a structlog logger.

    A connection on which nothing is worked on is closed after `idle_s` to twice that, whatever
    part of a request has arrived: uvicorn itself waits for ever, and `CONNECTIONS_MAX` callers that
    say nothing would keep all others out.
    """

    def __init__(self, app: Any, name: str, logger: Any, *, idle_s: float = KEEP_ALIVE_S) -> None:
        self._name = name
        self._logger = logger
        self._idle_s = idle_s
        self._idle: dict[Any, Any] = {}
        self._tasks = TaskScope(self._task_failed)
        self._sweep_due: asyncio.TimerHandle | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=STOP_S,
            )
        )

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve; returns once the app takes connections."""
        task = self._tasks.start(self._server.serve(list(sockets)), f"serve {self._name}")
        # uvicorn tells neither that it has started nor that it has ended by an event.
        while not self._server.started and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self._sweep_later()

    async def close(self) -> None:
        """Stop taking connections, end what is left after `STOP_S`, and release the sockets."""
        self._server.should_exit = True
        if self._sweep_due is not None:
            self._sweep_due.cancel()
        while len(self._tasks):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _sweep_later(self) -> None:
        self._sweep_due = asyncio.get_running_loop().call_later(self._idle_s, self._sweep)

    def _sweep(self) -> None:
        """Close what has been idle, in the same way, since the last time."""
        idle: dict[Any, Any] = {}
        connections: set[Any] = self._server.server_state.connections  # HttpToolsProtocol, all
        for connection in connections:
            # What it answered last or answers now; None before its first request.
            last = connection.cycle
            if last is not None and not last.response_complete:
                continue
            if connection in self._idle and self._idle[connection] is last:
                connection.transport.close()
            else:
                idle[connection] = last
        self._idle = idle
        self._sweep_later()

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._logger.error("task_failed", task=name, error=describe(error))
