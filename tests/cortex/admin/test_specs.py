"""The spec by the admin API: planned, applied, kept."""

from pathlib import Path

from helexa.cli.engines import engine_problems
from helexa.config.cortex import CortexConfig
from helexa.cortex.admin.specs import PROBLEMS_MAX, SpecBody, SpecDoor
from helexa.cortex.control_plane.spec_desk import SpecDesk
from helexa.cortex.orchestrator.events import DesiredChanged
from helexa.cortex.orchestrator.snapshot import EMPTY
from helexa.protocol.errors import ErrorCode, Refusal
from tests.fakes.control_plane import recording_logger

SPEC = '{"models": [{"id": "a", "engine": "echo"}]}'


def door(folder: Path) -> SpecDoor:
    desk = SpecDesk(CortexConfig(state_dir=folder), engine_problems, folder, recording_logger([]))
    desk.start(None)
    return SpecDoor(desk, lambda: EMPTY, lambda: 0.0)


async def test_a_spec_is_planned_applied_and_kept(tmp_path: Path) -> None:
    made = door(tmp_path)
    assert made.current() == {"name": None, "text": None}
    planned = made.plan({}, SpecBody(text=SPEC, name="s.json"))
    assert not isinstance(planned, Refusal)
    body, events = planned
    assert [change["subject"] for change in body["changes"]] == ["a"]
    assert events == []
    applied = made.apply({}, SpecBody(text=SPEC, name="s.json"))
    assert not isinstance(applied, Refusal)
    assert applied[0] == body
    (event,) = applied[1]
    assert isinstance(event, DesiredChanged)
    assert made.current() == {"name": "s.json", "text": SPEC}
    assert await made.keep() == {"kept": True}
    assert door(tmp_path).current()["name"] == "s.json"
    again = made.plan({}, SpecBody(text=SPEC))
    assert not isinstance(again, Refusal)
    assert again[0]["changes"] == []


def test_a_wrong_spec_changes_nothing_and_every_problem_is_told_within_bounds(
    tmp_path: Path,
) -> None:
    made = door(tmp_path)
    lines = ",\n".join(f'{{"id": "a{n}", "engine": "x"}}' for n in range(PROBLEMS_MAX + 3))
    for change in (made.plan, made.apply):
        outcome = change({}, SpecBody(text=f'{{"models": [{lines}]}}', name="s.json"))
        assert isinstance(outcome, Refusal)
        assert outcome.code is ErrorCode.INVALID_REQUEST_BODY
        assert 's.json:2: models[1].engine = "x": no such engine' in outcome.because
        assert outcome.because.endswith("and 3 more")
    assert made.current()["name"] is None


async def test_a_disk_that_refuses_costs_only_the_restart(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    made = door(tmp_path / "blocked")
    assert not isinstance(made.apply({}, SpecBody(text=SPEC)), Refusal)
    kept = await made.keep()
    assert kept["kept"] is False
    assert "cannot save" in kept["kept_because"]


def test_a_name_that_is_there_twice_is_told_by_its_own_place(tmp_path: Path) -> None:
    text = '{"models": [{"id": "a", "engine": "echo"},\n {"id": "a", "engine": "echo"}]}'
    outcome = door(tmp_path).plan({}, SpecBody(text=text, name="s.json"))
    assert isinstance(outcome, Refusal)
    assert 's.json:2: models[1].id = "a": the name is taken already, by models[0].id' in (
        outcome.because
    )
