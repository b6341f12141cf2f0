"""`helexa status`."""

import json

from tests.cli.conftest import Helexa
from tests.fakes.fleet_answers import empty_status, serve_status, status_of
from tests.fakes.http_answers import AnswerServer


def test_a_healthy_fleet_is_shown_and_the_check_passes(
    helexa: Helexa, server: AnswerServer
) -> None:
    admin = serve_status(server, status_of(healthy=True))
    ran = helexa("status", "--admin", admin, "--check")
    assert ran.status == 0
    assert "next: helexa chat --model small" in ran.out
    assert ran.err == ""


def test_a_check_of_a_fleet_with_problems_exits_8_after_showing_them(
    helexa: Helexa, server: AnswerServer
) -> None:
    admin = serve_status(server, status_of(healthy=False))
    assert helexa("status", "--admin", admin).status == 0
    ran = helexa("status", "--admin", admin, "--check")
    assert ran.status == 8
    assert "the engine ran out of memory" in ran.out
    assert ran.err.startswith("error[HX-0720]: ")


def test_json_is_what_the_cortex_said(helexa: Helexa, server: AnswerServer) -> None:
    told = status_of(healthy=False)
    ran = helexa("status", "--admin", serve_status(server, told), "-o", "json")
    assert json.loads(ran.out) == told


def test_a_cortex_without_neurons_is_told_how_one_joins(
    helexa: Helexa, server: AnswerServer
) -> None:
    ran = helexa("status", "--admin", serve_status(server, empty_status()))
    assert "no neurons" in ran.out
    assert "next: helexa neuron --cortex-control-endpoint ws://10.0.0.1:9040 --join-token-file" in (
        ran.out
    )


def test_a_cortex_that_does_not_answer_is_exit_5_with_a_hint(helexa: Helexa) -> None:
    ran = helexa("status", "--admin", "127.0.0.1:1")
    assert (ran.status, ran.out) == (5, "")
    first, hint = ran.err.splitlines()
    assert first == "error[HX-0703]: cannot reach http://127.0.0.1:1: Connection refused"
    assert hint.startswith("  hint: ")
