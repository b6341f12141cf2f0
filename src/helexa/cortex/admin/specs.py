"""The spec by the admin API: what is in force, what another would change, and how it is applied."""

from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from helexa.config.problems import Problem
from helexa.cortex.admin.writes import Json, WriteBody
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.orchestrator.events import DesiredChanged, Event
from helexa.cortex.orchestrator.plan import Change as Planned
from helexa.cortex.orchestrator.plan import changes_json
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.protocol.errors import ErrorCode, Refusal
from helexa.util.errors import HelexaError

PROBLEMS_MAX: Final = 50


class SpecBody(WriteBody, frozen=True, kw_only=True):
    """A spec as its file has it: places in it are told by line."""

    text: str
    name: str = "spec"
    """What the file is called, for messages and the log."""
    lines: ClassVar[tuple[str, ...]] = ("cause", "name")


class SpecDoor:
    """The changes that the spec's routes make; `monotonic` returns seconds."""

    def __init__(
        self,
        desk: SpecDesk,
        snapshot: Callable[[], FleetSnapshot],
        monotonic: Callable[[], float],
    ) -> None:
        self._desk = desk
        self._snapshot = snapshot
        self._monotonic = monotonic

    def current(self) -> Json:
        """Return the spec in force; the text of one named by --spec is in its file."""
        return {"name": self._desk.name or None, "text": self._desk.text or None}

    def plan(self, _path: Mapping[str, str], body: SpecBody) -> tuple[Json, list[Event]] | Refusal:
        """Tell what a spec would change, and change nothing."""
        planned = self._planned(body)
        return planned if isinstance(planned, Refusal) else (planned, [])

    def apply(self, _path: Mapping[str, str], body: SpecBody) -> tuple[Json, list[Event]] | Refusal:
        """Enforce a spec from now on."""
        planned = self._planned(body)
        if isinstance(planned, Refusal):
            return planned
        event = self._desk.apply(body.text, body.name)
        assert isinstance(event, DesiredChanged), "it was judged by the plan"
        return planned, [event]

    async def keep(self) -> Json:
        """Write the applied spec; a disk that refuses costs only that it outlives a restart."""
        try:
            await self._desk.flush()
        except HelexaError as error:
            return {"kept": False, "kept_because": str(error)}
        return {"kept": True}

    def _planned(self, body: SpecBody) -> Json | Refusal:
        found = self._desk.plan(body.text, body.name, self._snapshot(), self._monotonic())
        changes = [each for each in found if isinstance(each, Planned)]
        if len(changes) == len(found):
            return {"name": body.name, "changes": changes_json(changes)}
        problems = [str(each) for each in found if isinstance(each, Problem)]
        more = len(problems) - PROBLEMS_MAX
        told = problems[:PROBLEMS_MAX] + ([f"and {more} more"] if more > 0 else [])
        because = f"{len(problems)} problem(s) in the spec\n  " + "\n  ".join(told)
        return Refusal(ErrorCode.INVALID_REQUEST_BODY, because, param="text")
