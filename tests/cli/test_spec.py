"""`helexa spec`: what is right, what is wrong, what would change."""

import json
import os
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer

GOOD = '{"models": [{"id": "a", "engine": "echo"}]}'
CHANGE = {
    "action": "add", "subject": "a", "field": None, "before": None, "after": None,
    "effect": "is loaded on n1",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(GOOD)
    return path


def test_a_right_spec_is_said_to_be_right(helexa: Helexa, file: Path) -> None:
    ran = helexa("spec", "check", str(file))
    assert (ran.status, ran.out) == (0, f"{file}: right, a spec with 1 model\n")
    assert json.loads(helexa("spec", "check", str(file), "-o", "json").out)["ok"]


def test_what_is_wrong_is_told_by_path_and_line_with_exit_78(helexa: Helexa, file: Path) -> None:
    """R6.2, R6.7."""
    file.write_text('{"models": [\n{"id": "a", "engine": "echo", "wieght": 2},\n{"id": "a"}]}')
    ran = helexa("spec", "check", str(file))
    assert ran.status == 78
    assert f"{file}:2: models[0].wieght: unknown setting; did you mean weight?" in ran.err
    told = json.loads(helexa("spec", "check", str(file), "-o", "json").out)
    assert told["problems"][0]["field"] == "models[0].wieght"


def test_a_missing_file_is_exit_78(helexa: Helexa, tmp_path: Path) -> None:
    """R6.7."""
    ran = helexa("spec", "check", str(tmp_path / "none.json"))
    assert ran.status == 78
    assert "cannot be read" in ran.err


def test_the_schema_is_published(helexa: Helexa) -> None:
    """R6.2."""
    schema = json.loads(helexa("spec", "schema").out)
    assert schema["title"] == "helexa spec"
    assert "max_replicas" in schema["$defs"]["ModelEntry"]["properties"]
    assert "with" in schema["$defs"]["PlacementSettings"]["properties"]


def test_a_plan_is_exit_10_where_something_would_change_and_0_where_nothing_would(
    helexa: Helexa, server: AnswerServer, file: Path
) -> None:
    admin = f"127.0.0.1:{server.port}"
    server["POST /api/v1/spec/plan"] = Answer({"name": "spec.json", "changes": [CHANGE]})
    ran = helexa("spec", "plan", str(file), "--admin", admin)
    assert ran.status == 10
    assert ran.out == "+ model a\n    is loaded on n1\n\n1 to add\n"
    assert server.asked[0].body == {
        "text": GOOD, "name": "spec.json", "cause": "spec plan",
    }  # fmt: skip
    server["POST /api/v1/spec/plan"] = Answer({"name": "spec.json", "changes": []})
    ran = helexa("spec", "plan", str(file), "--admin", admin)
    assert (ran.status, ran.out) == (0, "nothing changes\n")


def test_an_applied_spec_says_what_changed(
    helexa: Helexa, server: AnswerServer, file: Path
) -> None:
    server["POST /api/v1/spec/apply"] = Answer({"changes": [CHANGE], "kept": True})
    ran = helexa("spec", "apply", str(file), "--admin", f"127.0.0.1:{server.port}", "-o", "json")
    assert ran.status == 0
    assert json.loads(ran.out)["kept"]


def test_a_wrong_spec_is_not_even_sent(helexa: Helexa, server: AnswerServer, file: Path) -> None:
    file.write_text("{")
    ran = helexa("spec", "apply", str(file), "--admin", f"127.0.0.1:{server.port}")
    assert ran.status == 78
    assert server.asked == []


def test_a_spec_from_a_pipe_is_read_once(
    helexa: Helexa, server: AnswerServer, tmp_path: Path
) -> None:
    """`helexa spec apply <(make-spec)` sent an empty text: the pipe was read a second time."""
    server["POST /api/v1/spec/plan"] = Answer({"name": "pipe", "changes": []})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(GOOD,))
    writer.start()
    ran = helexa("spec", "plan", str(pipe), "--admin", f"127.0.0.1:{server.port}")
    writer.join()
    assert ran.status == 0, ran.err
    assert server.asked[0].body["text"] == GOOD


def test_options_of_a_model_whose_engine_the_config_names_are_judged_by_the_cortex(
    helexa: Helexa, server: AnswerServer, file: Path
) -> None:
    """Here it looked like a llamacpp, and what is right for an echo was refused."""
    server["POST /api/v1/spec/plan"] = Answer({"name": "spec.json", "changes": []})
    file.write_text('{"models": [{"id": "a", "options": {"tokens_per_second": 7}}]}')
    ran = helexa("spec", "plan", str(file), "--admin", f"127.0.0.1:{server.port}")
    assert ran.status == 0, ran.err
