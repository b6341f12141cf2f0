"""The admin API, read."""

import pytest

from helexa.cli.admin_client import AdminClient
from helexa.util.errors import UnreachableError
from tests.fakes.http_answers import Answer, AnswerServer


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_a_socket_or_a_url_names_the_api(server: AnswerServer, scheme: str) -> None:
    server["GET /api/v1/models"] = Answer({"models": []})
    admin = AdminClient(f"{scheme}127.0.0.1:{server.port}")
    assert admin.get("/api/v1/models") == {"models": []}


def test_nobody_there_is_told_with_how_to_start_one() -> None:
    with pytest.raises(UnreachableError) as caught:
        AdminClient("127.0.0.1:1").get("/")
    assert "helexa up" in caught.value.hint
