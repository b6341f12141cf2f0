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
    """One listening app. `name` is for its log lines; `logger` is a structlog logger."""

    def __init__(self, app: Any, name: str, logger: Any) -> None:
        self._name = name
        self._logger = logger
        self._tasks = TaskScope(self._task_failed)
        self._server = _Server(
            uvicorn.Config(
                app,
                loop="none",
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

    async def close(self) -> None:
        """Stop taking connections, end what is left after `STOP_S`, and release the sockets."""
        self._server.should_exit = True
        while len(self._tasks):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._logger.error("task_failed", task=name, error=describe(error))
