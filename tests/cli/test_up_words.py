"""What `helexa up` says."""

import ast
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from helexa.cli.main import cli
from helexa.cli.up_plan import UpPlan
from helexa.cli.up_words import Steps, facts_of, ready_text
from helexa.config.cortex import CortexConfig
from helexa.config.neuron import NeuronConfig


class StillClock:
    """A clock that a test moves."""

    now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s


def plan(**cortex: Any) -> UpPlan:
    config = CortexConfig.model_validate({"state_dir": "/s", "models": [{"id": "m"}], **cortex})
    neuron = NeuronConfig(state_dir=Path("/s"), node_id="n")
    return UpPlan(config, neuron, Path("/s/join-token"), config)


def text_of(made: UpPlan, models: dict[str, str]) -> str:
    return ready_text(facts_of(made, models, 1.5), "helexa is up", "Ctrl-C stops everything.")


@pytest.mark.parametrize("use", ["chat", "completion", "embeddings"])
def test_snippets_start_at_the_margin_and_can_be_copied(use: str) -> None:
    lines = text_of(plan(), {"m": use}).splitlines()
    curl = shlex.split(next(line for line in lines if line.startswith("curl ")))
    assert json.loads(curl[curl.index("-d") + 1])["model"] == "m"
    start = lines.index("from openai import OpenAI")
    snippet = "\n".join(lines[start : lines.index("", start)])
    assert 'base_url="http://127.0.0.1:8080/v1"' in ast.unparse(ast.parse(snippet)).replace(
        "'", '"'
    )


def test_the_commands_are_commands_of_ours() -> None:
    lines = text_of(plan(), {"m": "chat"}).splitlines()
    ours = [
        shlex.split(line)[1:] for line in lines if line.startswith("helexa ") and "up" not in line
    ]
    assert {words[0] for words in ours} == {"chat", "status", "neuron"}
    for words in ours:
        context = cli.make_context("helexa", list(words), resilient_parsing=True)
        command = cli.get_command(context, words[0])
        assert command is not None
        known = {flag for option in command.params for flag in option.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_a_chat_model_is_shown_before_others() -> None:
    assert '"model": "talker"' in text_of(plan(), {"e": "embeddings", "talker": "chat"})


def test_how_to_let_others_in_is_told_while_they_are_not() -> None:
    closed = text_of(plan(), {"m": "chat"})
    assert "helexa up --control-plane-socket :9040" in closed
    opened = plan(control_plane={"socket": ":9040"})
    assert "let others in first" not in text_of(opened, {"m": "chat"})
    address = plan(control_plane={"socket": "10.0.0.1:9040"})
    assert "ws://10.0.0.1:9040 --join-token-file join-token" in text_of(address, {"m": "chat"})


def test_keys_are_asked_for_in_the_snippets_where_they_are_needed() -> None:
    made = plan(auth={"keys_file": "/k"})
    text = text_of(
        UpPlan(made.cortex, made.neuron, made.token_file, made.bare, "hlx_secret"), {"m": "chat"}
    )
    assert "hlx_secret" not in text
    assert "authorization: Bearer" in text
    assert "--api-key-file FILE" in text


def test_each_step_tells_its_time_and_remarks_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = StillClock()
    steps = Steps(clock)
    with steps.step("weights") as remarks:
        clock.now_s += 2.5
        remarks.append("5 MiB")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "weights …\n  done in 2.5 s (5 MiB)\n"
    assert steps.elapsed_s == 2.5
