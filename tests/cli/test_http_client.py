"""HTTP for the command line."""

import socket

import pytest

from helexa.cli.http_client import HttpClient, StatusError
from helexa.util.errors import UnreachableError, UsageError
from tests.fakes.http_answers import Answer, AnswerServer


def client(server: AnswerServer, **more: object) -> HttpClient:
    return HttpClient(f"{server.base}/api/", timeout_s=5, **more)  # type: ignore[arg-type]


def test_json_goes_there_and_comes_back(server: AnswerServer) -> None:
    server["POST /api/x"] = Answer({"b": 2})
    asked = client(server, headers={"authorization": "Bearer k"})
    assert asked.base == f"{server.base}/api"
    assert asked.post_json("/x", {"a": 1}) == {"b": 2}
    assert server.asked[0].body == {"a": 1}
    assert server.asked[0].headers["authorization"] == "Bearer k"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "no such model", "code": "model_not_found"}},
         "answers 404 model_not_found: no such model"),
        ({"error": "just a text"}, "answers 404: just a text"),
        ("<html>nope", "answers 404: <html>nope"),
        ("", "answers 404: Not Found"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_servers_words(
    server: AnswerServer, body: object, said: str
) -> None:
    server["GET /api/x"] = Answer(body, 404)  # type: ignore[arg-type]
    with pytest.raises(StatusError) as caught:
        client(server).get_json("/x")
    assert said in caught.value.message
    assert caught.value.exit_status == 3


def test_a_wait_that_the_server_asks_for_is_the_hint(server: AnswerServer) -> None:
    server["GET /api/x"] = Answer({}, 429, {"retry-after": "7"})
    with pytest.raises(StatusError) as caught:
        client(server).get_json("/x")
    assert (caught.value.exit_status, caught.value.hint) == (6, "try again in 7 s")


def test_what_is_no_json_is_told(server: AnswerServer) -> None:
    server["GET /api/x"] = Answer("hello")
    with pytest.raises(StatusError, match="does not answer JSON"):
        client(server).get_json("/x")


def test_a_server_that_is_not_there_or_hangs_up_is_unreachable(server: AnswerServer) -> None:
    with pytest.raises(UnreachableError, match="Connection refused") as caught:
        HttpClient("http://127.0.0.1:1", timeout_s=1, hint="start it").get_json("/")
    assert caught.value.hint == "start it"
    with pytest.raises(UnreachableError, match="No address|Name or service|not known|resolution"):
        HttpClient("http://nowhere.invalid", timeout_s=5).get_json("/")


def test_a_server_that_says_nothing_is_told_with_the_time_waited() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        base = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="did not answer within 0.1 s"):
            HttpClient(base, timeout_s=0.1).get_json("/")


def test_what_is_no_url_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="does not start with http"):
        HttpClient("ftp://x", timeout_s=1)
