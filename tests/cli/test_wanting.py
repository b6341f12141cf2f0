"""`helexa models load|unload|pin|unpin`."""

import json

import pytest

from tests.cli.conftest import Helexa
from tests.fakes.http_answers import Answer, AnswerServer

TOLD = {"id": "small", "state": "loaded", "because": "it is kept until it is unpinned"}


@pytest.mark.parametrize("what", ["load", "unload", "pin", "unpin"])
def test_each_command_is_one_write_and_says_what_comes_of_it(
    helexa: Helexa, server: AnswerServer, what: str
) -> None:
    server[f"POST /api/v1/models/{what}"] = Answer(TOLD)
    admin = f"127.0.0.1:{server.port}"
    ran = helexa("models", what, "small", "--cause", "night", "--admin", admin)
    assert (ran.status, ran.out) == (0, "small (loaded): it is kept until it is unpinned\n")
    assert server.asked[0].body == {"model": "small", "cause": "night"}
    ran = helexa("models", what, "small", "--admin", admin, "-o", "json")
    assert json.loads(ran.out) == TOLD


def test_a_model_that_fits_nowhere_is_told_with_the_reason(
    helexa: Helexa, server: AnswerServer
) -> None:
    error = {"error": {"message": "needs 21.4 GiB; best free 15.1 GiB on n2", "code": "x"}}
    server["POST /api/v1/models/load"] = Answer(error, 503)
    ran = helexa("models", "load", "big", "--admin", f"127.0.0.1:{server.port}")
    assert ran.status == 1
    assert "needs 21.4 GiB; best free 15.1 GiB on n2" in ran.err
