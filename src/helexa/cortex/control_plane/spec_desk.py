"""The spec in force: where it came from, what another would change, and how one is applied live.

    config  <  spec given with --spec, else the one applied last (kept in the state folder)

The config file wins over either, value by value. A spec that is applied counts until the next one,
over restarts too, unless a restart names another with --spec.
"""

import asyncio
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec

from helexa.cache.json_store import JsonStore
from helexa.config.cortex import CortexConfig, CortexSpec
from helexa.config.problems import Path, Problem, dotted
from helexa.config.rules import EngineProblems, name_findings, validate_cortex
from helexa.config.spec_file import read_spec, with_spec
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.plan import Change, plan
from helexa.cortex.orchestrator.snapshot import FleetSnapshot
from helexa.cortex.spec import desired_of
from helexa.util.errors import HelexaError

FILE_NAME: Final = "spec.json"
GIVEN: Final = "--spec"
CONFIG: Final = "config"


class AppliedSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A spec as it was applied: its text, and the name it had."""

    name: str = ""
    text: str = ""


class SpecDesk:
    """Holds the config and the spec below it; the fleet is told by the events it returns.

    `config` is without any spec; `engine_problems` says what engines find wrong with options.
    """

    def __init__(
        self,
        config: CortexConfig,
        engine_problems: EngineProblems,
        state_dir: FilePath,
        logger: Any,
    ) -> None:
        self._config = config
        self._engine_problems = engine_problems
        self._store = JsonStore(state_dir / FILE_NAME, AppliedSpec)
        self._logger = logger
        self._due: AppliedSpec | None = None
        self._flushing = asyncio.Lock()
        self._current = desired_of(config, CONFIG)
        self.name = ""
        """What the spec in force is called; empty where there is none."""
        self.text = ""

    def start(self, given: CortexSpec | None, given_name: str = "") -> DesiredChanged:
        """Return what should run at the start; a kept spec that is no use any more is said."""
        kept = self._store.load(AppliedSpec)
        if kept.problem:
            self._logger.warning("applied_spec_not_used", because=kept.problem)
        if given is not None:
            if kept.value.text:
                because = f"the file named by --spec counts; {kept.value.name} was applied before"
                self._logger.info("spec_file_wins", because=because)
            self._enforce(with_spec(self._config, given), given_name, "", GIVEN)
        elif kept.value.text:
            self._restore(kept.value)
        return self._current

    def _restore(self, kept: AppliedSpec) -> None:
        effective, problems = self._judge(kept.text, kept.name)
        if effective is None or problems:
            because = "; ".join(str(problem) for problem in problems[:5])
            self._logger.error("applied_spec_not_used", because=because)
            return
        self._enforce(effective, kept.name, kept.text, kept.name)
        self._logger.info("applied_spec_restored", name=kept.name, models=len(effective.models))

    def plan(
        self, text: str, name: str, snapshot: FleetSnapshot, now: float
    ) -> list[Change] | list[Problem]:
        """Return what a spec would change, or what is wrong with it; nothing is changed."""
        effective, problems = self._judge(text, name)
        if effective is None or problems:
            return problems
        return plan(self._current, desired_of(effective, name), snapshot, now)

    def apply(self, text: str, name: str) -> DesiredChanged | list[Problem]:
        """Take a spec; return the event that enforces it, or what is wrong with it.

        It is kept by the next `flush`.
        """
        effective, problems = self._judge(text, name)
        if effective is None or problems:
            return problems
        self._enforce(effective, name, text, name)
        self._due = AppliedSpec(name=name, text=text)
        return self._current

    async def flush(self) -> None:
        """Write the spec that was applied last; raises HelexaError where the disk refuses.

        One write at a time: of two that were applied one after the other, the later one stays.
        """
        async with self._flushing:
            due, self._due = self._due, None
            if due is None:
                return
            try:
                await asyncio.to_thread(self._store.save, due)
            except HelexaError:
                self._due = self._due or due
                raise

    def _enforce(self, effective: CortexConfig, name: str, text: str, cause: str) -> None:
        self.name, self.text = name, text
        self._current = desired_of(effective, cause)

    def _judge(self, text: str, name: str) -> tuple[CortexConfig | None, list[Problem]]:
        """Read a spec and lay it below the config; return everything that is wrong."""
        read = read_spec(text, name)
        if read.spec is None:
            return None, list(read.problems)
        twice = list(name_findings(read.spec.models))
        if twice:
            return None, [read.problem(found) for found in twice]
        effective = with_spec(self._config, read.spec)
        findings = validate_cortex(effective, self._engine_problems)
        at = ((self._place(found.path, read.spec, effective), found) for found in findings)
        return effective, [
            Problem(read.where(path), dotted(path), found.message, found.value)
            for path, found in at
            if path
        ]

    def _place(self, path: Path, spec: CortexSpec, effective: CortexConfig) -> Path:
        """Return where in the spec a wrong value of the effective config stands; empty: nowhere.

        The config was right without the spec: whatever is wrong with its models now is the spec's.
        """
        if path[:1] == ("models",) and isinstance(path[1], int):
            ids = [entry.id for entry in spec.models]
            model_id = effective.models[path[1]].id
            return ("models", ids.index(model_id), *path[2:]) if model_id in ids else ("models",)
        return path if path[:1] == ("default_models",) else ()
