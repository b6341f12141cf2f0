"""`helexa models`."""

import json

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.fleet_answers import serve_status, status_of
from tests.fakes.http_answers import AnswerServer


def test_models_are_listed_with_where_they_run_and_why_not(
    helexa: Helexa, server: AnswerServer
) -> None:
    ran = helexa("models", "--admin", serve_status(server, status_of(healthy=False)))
    assert ran.status == 0
    head, large, small = ran.out.splitlines()
    assert head.split()[:4] == ["MODEL", "STATE", "ENGINE", "NEURONS"]
    assert "ran out of memory" in large
    assert small.split()[:5] == ["small", "(gpt-4o)", "loaded", "echo", "rack1"]


@pytest.mark.parametrize("name", ["small", "gpt-4o"])
def test_one_model_is_found_by_any_of_its_names(
    helexa: Helexa, server: AnswerServer, name: str
) -> None:
    status = status_of(healthy=False)
    ran = helexa("models", name, "--admin", serve_status(server, status), "-o", "json")
    assert [model["id"] for model in json.loads(ran.out)["models"]] == ["small"]


def test_an_unknown_model_is_exit_3(helexa: Helexa, server: AnswerServer) -> None:
    admin = serve_status(server, status_of(healthy=True))
    ran = helexa("models", "nothing", "--admin", admin)
    assert ran.status == 3
    assert "no model is named 'nothing'" in ran.err


def test_a_model_called_like_a_command_is_found_by_list(
    helexa: Helexa, server: AnswerServer
) -> None:
    status = status_of(healthy=True)
    ran = helexa("models", "list", "small", "--admin", serve_status(server, status))
    assert (ran.status, ran.out.splitlines()[1].split()[0]) == (0, "small")
    assert helexa("models", "--help").status == 0
