"""The spec in force: given, kept, applied; and who wins."""

import asyncio
from pathlib import Path
from typing import Any

from helexa.cli.engines import engine_problems
from helexa.config.cortex import CortexConfig, ModelEntry
from helexa.config.problems import Problem
from helexa.config.spec_file import read_spec
from helexa.cortex.control_plane.spec_desk import FILE_NAME, SpecDesk
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.plan import Change
from helexa.cortex.orchestrator.snapshot import EMPTY
from helexa.util.errors import HelexaError
from tests.fakes.control_plane import recording_logger

CONFIG = CortexConfig(
    state_dir=Path("state"), models=(ModelEntry(id="mine", engine="echo", aliases=("m",)),)
)
SPEC = '{"models": [{"id": "a", "engine": "echo", "min_replicas": 2, "max_replicas": 2}]}'
OTHER = '{"models": [{"id": "b", "engine": "echo"}]}'


def desk(folder: Path, log: list[dict[str, Any]] | None = None) -> SpecDesk:
    logger = recording_logger(log if log is not None else [])
    return SpecDesk(CONFIG, engine_problems, folder, logger)


def models(event: DesiredChanged | list[Problem]) -> list[str]:
    assert isinstance(event, DesiredChanged), event
    return [config.id for config in event.models]


async def test_an_applied_spec_is_restored_at_the_next_start(tmp_path: Path) -> None:
    """R6.1, R6.7."""
    first = desk(tmp_path)
    assert models(first.start(None)) == ["mine"]
    applied = first.apply(SPEC, "prod.json")
    assert models(applied) == ["mine", "a"]
    await first.flush()
    log: list[dict[str, Any]] = []
    second = desk(tmp_path, log)
    event = second.start(None)
    assert models(event) == ["mine", "a"]
    assert event.rules == applied.rules  # type: ignore[union-attr]
    assert (second.name, second.text) == ("prod.json", SPEC)
    assert any(line["event"] == "applied_spec_restored" for line in log)


async def test_a_file_named_at_the_start_wins_over_what_was_applied_and_says_so(
    tmp_path: Path,
) -> None:
    first = desk(tmp_path)
    first.start(None)
    first.apply(SPEC, "prod.json")
    await first.flush()
    log: list[dict[str, Any]] = []
    event = desk(tmp_path, log).start(read_spec(OTHER, "f").spec, "f")
    assert models(event) == ["mine", "b"]
    (line,) = [line for line in log if line["event"] == "spec_file_wins"]
    assert "prod.json was applied before" in line["because"]


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    made = desk(tmp_path)
    made.start(None)
    changes = made.plan(SPEC, "s", EMPTY, 0.0)
    assert [c.subject for c in changes if isinstance(c, Change)] == ["a"]
    assert made.plan(SPEC, "s", EMPTY, 0.0) == changes
    assert made.plan("{}", "s", EMPTY, 0.0) == []
    made.apply(SPEC, "s")
    assert made.plan(SPEC, "s", EMPTY, 0.0) == []


def test_what_is_wrong_is_told_with_its_place_in_the_spec(tmp_path: Path) -> None:
    made = desk(tmp_path)
    made.start(None)
    text = '{"models": [{"id": "mine"},\n{"id": "a", "engine": "echo", "aliases": ["m"]}]}'
    for told in (made.apply(text, "s.json"), made.plan(text, "s.json", EMPTY, 0.0)):
        (problem,) = told  # type: ignore[misc]
        assert str(problem).startswith('s.json:2: models[1].aliases[0] = "m": the name is taken')
    (broken,) = made.apply("{", "s.json")  # type: ignore[misc]
    assert "is not JSON" in str(broken)
    assert made.name == ""


def test_what_only_together_with_the_config_is_wrong_is_told_in_the_spec(tmp_path: Path) -> None:
    """R6.5: min <= max, whoever said which."""
    config = CortexConfig(
        state_dir=Path("state"), models=(ModelEntry(id="m", engine="echo", max_replicas=2),)
    )
    made = SpecDesk(config, engine_problems, tmp_path, recording_logger([]))
    made.start(None)
    (problem,) = made.apply('{"models": [\n{"id": "m", "min_replicas": 3}]}', "s")  # type: ignore[misc]
    assert str(problem) == "s:2: models[0].max_replicas = 2: must not be less than min_replicas (3)"
    event = made.apply('{"models": [{"id": "m", "min_replicas": 2}]}', "s")
    assert isinstance(event, DesiredChanged)
    assert [rules.min_replicas for rules in event.rules.values()] == [2]


async def test_a_kept_spec_that_is_no_use_any_more_is_left_out_and_said(tmp_path: Path) -> None:
    first = desk(tmp_path)
    first.start(None)
    first.apply('{"models": [{"id": "a", "engine": "echo", "aliases": ["late"]}]}', "s")
    await first.flush()
    config = CortexConfig(state_dir=Path("state"), models=(ModelEntry(id="late", engine="echo"),))
    log: list[dict[str, Any]] = []
    later = SpecDesk(config, engine_problems, tmp_path, recording_logger(log))
    assert models(later.start(None)) == ["late"]
    assert any(line["event"] == "applied_spec_not_used" for line in log)


def test_a_damaged_file_is_set_aside_and_said(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"{damaged")
    log: list[dict[str, Any]] = []
    assert models(desk(tmp_path, log).start(None)) == ["mine"]
    assert any(line["event"] == "applied_spec_not_used" for line in log)


async def test_what_one_write_could_not_keep_the_next_one_does(tmp_path: Path) -> None:
    """Of two that apply at once, one writes for both: the other must not say that it is kept."""
    (tmp_path / "state").write_bytes(b"a file where a folder should be")
    made = desk(tmp_path / "state")
    made.start(None)
    made.apply(SPEC, "prod.json")
    told = await asyncio.gather(made.flush(), made.flush(), return_exceptions=True)
    assert [type(each) for each in told] == [HelexaError, HelexaError]
    (tmp_path / "state").unlink()
    await made.flush()
    again = desk(tmp_path / "state")
    again.start(None)
    assert again.name == "prod.json"
