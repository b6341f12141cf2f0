"""What the commands have in common that change something at a cortex."""

import json

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer

NOT_KEPT = {"kept": False, "kept_because": "cannot save fleet.json: No space left on device"}


@pytest.mark.parametrize(
    ("words", "path", "told"),
    [
        (["neuron", "cordon", "n1"], "neurons/n1/cordon", {"id": "n1"}),
        (["models", "pin", "m"], "models/pin", {"id": "m", "state": "loaded", "because": "kept"}),
    ],
)
def test_what_does_not_outlive_a_restart_is_said(
    helexa: Helexa, server: AnswerServer, words: list[str], path: str, told: dict[str, str]
) -> None:
    server[f"POST /api/v1/{path}"] = Answer(told | NOT_KEPT)
    admin = f"127.0.0.1:{server.port}"
    ran = helexa(*words, "--admin", admin)
    assert ran.status == 0
    assert "it does not outlive a restart: cannot save fleet.json: No space left" in ran.out
    assert json.loads(helexa(*words, "--admin", admin, "-o", "json").out) == told | NOT_KEPT


@pytest.mark.parametrize("words", [["neuron", "drain", ""], ["inspect", "neuron", ""]])
def test_no_name_is_wrong_usage(helexa: Helexa, words: list[str]) -> None:
    ran = helexa(*words)
    assert ran.status == 2
    assert "the neuron's name is empty" in ran.err
