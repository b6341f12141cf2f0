"""Whether an engine serves: its health route, then one real request (the canary)."""

import asyncio
import json
from typing import Final

import aiohttp

from helexa.model_runtime.interfaces import Probe
from helexa.neuron.registry.commands import RunningModel
from helexa.neuron.runtime.engine_asking import ANSWER_BYTES_MAX, ASKING_ERRORS, EngineAsker
from helexa.util.clock import Clock

HEALTH_S_MAX: Final = 5.0
POLL_S: Final = 0.02
"""Between two looks at an engine that comes up. Requests are held for it, and each look that is
late keeps them waiting. A look costs half a millisecond, while the load costs all it can get."""
_NOT_YET: Final = frozenset({425, 429, 503})
"""A canary answered like this is asked again: the engine is still coming up, or busy."""


class ProbeFailedError(Exception):
    """The engine does not serve; the text says why."""


class Prober:
    """Asks engines whether they serve."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asker = EngineAsker()

    async def close(self) -> None:
        """Close the connections."""
        await self._asker.close()

    async def ready(self, model: RunningModel, probe: Probe, limit_s: float) -> None:
        """Return when health and canary have passed; raises ProbeFailedError after `limit_s`."""
        deadline = self._clock.monotonic() + limit_s
        waited_for = "its first answer"
        while True:
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                raise ProbeFailedError(f"not ready within {limit_s:g} s: {waited_for}")
            problem = await self._healthy(model, probe, min(left_s, HEALTH_S_MAX))
            if problem is None:
                problem = await self._canary(model, probe, left_s)
            if problem is None:
                return
            waited_for = problem
            await asyncio.sleep(min(POLL_S, max(0.0, deadline - self._clock.monotonic())))

    async def check(self, model: RunningModel, probe: Probe, limit_s: float) -> None:
        """Ask once whether the engine is there; raises ProbeFailedError where it is not.

        Of a server without a health route any answer at all will do.
        """
        if probe.health_path is not None:
            problem = await self._healthy(model, probe, limit_s)
        else:
            problem = await self._answers(model, limit_s)
        if problem is not None:
            raise ProbeFailedError(problem)

    async def _healthy(self, model: RunningModel, probe: Probe, limit_s: float) -> str | None:
        if probe.health_path is None:
            return None
        try:
            status, _ = await self._asker.ask("GET", model, probe.health_path, None, limit_s)
        except ASKING_ERRORS as error:
            return f"GET {probe.health_path}: {_text(error)}"
        if status in probe.health_statuses:
            return None
        return f"GET {probe.health_path} answered {status}"

    async def _answers(self, model: RunningModel, limit_s: float) -> str | None:
        try:
            await self._asker.ask("GET", model, "/", None, limit_s)
        except ASKING_ERRORS as error:
            return _text(error)
        return None

    async def _canary(self, model: RunningModel, probe: Probe, limit_s: float) -> str | None:
        """Return what to wait for; None when it passed; raises where waiting cannot help."""
        if probe.canary_path is None:
            return None
        try:
            status, body = await self._asker.ask(
                "POST", model, probe.canary_path, probe.canary_body, limit_s
            )
        except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
            return f"canary: {_text(error)}"
        except aiohttp.ClientError as error:
            raise ProbeFailedError(f"canary: {_text(error)}") from error
        if status in _NOT_YET:
            return f"canary answered {status}"
        if status != 200:
            excerpt = body[:300].decode("utf-8", "backslashreplace")
            raise ProbeFailedError(f"canary answered {status}: {excerpt}")
        if not _is_answer(body):
            raise ProbeFailedError("canary answered 200 without a result in it")
        return None


def _is_answer(body: bytes) -> bool:
    """Tell whether a canary's body is a result: a JSON object without an error in it."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        # Only a prefix was read; a body so large is no error message.
        return len(body) >= ANSWER_BYTES_MAX
    return isinstance(answer, dict) and "error" not in answer and bool(answer)


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
