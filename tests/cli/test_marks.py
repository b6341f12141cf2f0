"""`helexa neuron cordon|uncordon|drain`."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer, Asked

PATH = "/api/v1/neurons/rack2"


def admin_of(server: AnswerServer) -> str:
    return f"127.0.0.1:{server.port}"


def neuron(drain: dict[str, Any] | None, state: str = "connected") -> dict[str, Any]:
    return {"id": "rack2", "state": state, "drain": drain}


@pytest.mark.parametrize(
    ("word", "said"),
    [("cordon", "gets no further models"), ("uncordon", "takes part again"),
     ("drain", "is being drained")],
)  # fmt: skip
def test_a_mark_is_one_post_with_its_cause(
    helexa: Helexa, server: AnswerServer, word: str, said: str
) -> None:
    told = {"id": "rack2", "cordoned": True, "draining": False}
    server[f"POST {PATH}/{word}"] = Answer(told)
    ran = helexa("neuron", word, "rack2", "--cause", "new disk", "--admin", admin_of(server))
    assert (ran.status, ran.err) == (0, "")
    assert said in ran.out
    (asked,) = server.asked
    assert asked.body == {"cause": "new disk"}
    assert asked.headers["content-type"] == "application/json"
    ran = helexa("neuron", word, "rack2", "-o", "json", "--admin", admin_of(server))
    assert json.loads(ran.out) == told


def test_a_drain_shows_how_far_it_is_and_ends_when_nothing_runs(
    helexa: Helexa, server: AnswerServer
) -> None:
    steps = [
        neuron(None),
        neuron({"done": False, "requests": 2, "left": [{"model": "m", "because": "waits"}]}),
        neuron({"done": False, "requests": 2, "left": [{"model": "m", "because": "waits"}]}),
        neuron({"done": False, "requests": 1, "left": []}),
        neuron({"done": True, "requests": 0, "left": []}),
    ]
    server[f"POST {PATH}/drain"] = Answer({})
    server[f"GET {PATH}"] = lambda _asked: Answer(steps.pop(0))
    ran = helexa("neuron", "drain", "rack2", "--wait", "--admin", admin_of(server))
    assert ran.status == 0, ran.err
    assert ran.out == "rack2 is drained: nothing runs there\n"
    assert ran.err.splitlines() == [
        "rack2: is not marked yet",
        "rack2: 2 requests running; m waits",
        "rack2: 1 request running",
    ]


def test_a_neuron_that_is_away_counts_as_drained_and_says_so(
    helexa: Helexa, server: AnswerServer
) -> None:
    server[f"POST {PATH}/drain"] = Answer({})
    server[f"GET {PATH}"] = Answer(neuron({"done": True, "requests": 0, "left": []}, "gone"))
    ran = helexa("neuron", "drain", "rack2", "--wait", "--admin", admin_of(server))
    assert ran.out == "rack2 is drained: it is gone\n"


def test_a_drain_that_takes_too_long_is_exit_7_and_says_what_it_waits_for(
    helexa: Helexa, server: AnswerServer
) -> None:
    left = [{"model": "big", "because": "0 of 1 replicas run elsewhere; no neuron can take it"}]
    server[f"POST {PATH}/drain"] = Answer({})
    server[f"GET {PATH}"] = Answer(neuron({"done": False, "requests": 0, "left": left}))
    ran = helexa(
        "neuron", "drain", "rack2", "--wait", "--timeout", "0.1", "--admin", admin_of(server)
    )
    assert ran.status == 7
    assert "big 0 of 1 replicas run elsewhere" in ran.err
    assert "hint: it goes on draining; helexa neuron uncordon rack2" in ran.err


def test_an_unknown_neuron_is_exit_3(helexa: Helexa, server: AnswerServer) -> None:
    def no(_asked: Asked) -> Answer:
        because = "no neuron is called 'rack2'; known are: rack1"
        return Answer({"error": {"message": because, "code": "not_found"}}, 404)

    server[f"POST {PATH}/drain"] = no
    ran = helexa("neuron", "drain", "rack2", "--wait", "--admin", admin_of(server))
    assert ran.status == 3
    assert "known are: rack1" in ran.err


def test_settings_of_the_role_are_refused_before_a_command(helexa: Helexa) -> None:
    ran = helexa("neuron", "--node-id", "x", "cordon", "rack2")
    assert ran.status == 2
    assert "--node-id is for running a neuron" in ran.err
