"""The same routes of a running cortex and of an open database."""

from pathlib import Path

import pytest

from helexa.cli.admin_client import AdminClient
from helexa.cli.http_client import StatusError
from helexa.cli.people import OfflinePeople, OnlinePeople, opened_store, path_of
from tests.fakes.http_answers import Answer, AnswerServer
from tests.fakes.stored import Stored


def test_paths_and_queries_are_quoted(server: AnswerServer) -> None:
    assert path_of("tenants", "a/b c") == "/api/v1/tenants/a%2Fb%20c"
    server["GET /api/v1/keys?tenant=a%26b"] = Answer({"keys": []})
    people = OnlinePeople(AdminClient(f"127.0.0.1:{server.port}"))
    assert people.get(path_of("keys"), {"tenant": "a&b", "project": None}) == {"keys": []}


def test_a_database_answers_as_a_cortex_would(tmp_path: Path) -> None:
    with Stored(tmp_path) as stored:
        people = OfflinePeople(stored.store)
        made = people.post("/api/v1/tenants", {"name": "acme", "cause": "x"})
        assert made["name"] == "acme"
        assert people.get("/api/v1/tenants/acme", {})["state"] == "active"
        for path, body, status in (
            ("/api/v1/tenants", {"name": "acme"}, 409),
            ("/api/v1/tenants", {"name": 5}, 400),
            ("/api/v1/tenants", {"name": "x", "oops": 1}, 400),
            ("/api/v1/tenants/no%2Fbody/disable", {}, 404),
        ):
            with pytest.raises(StatusError) as caught:
                people.post(path, body)
            assert caught.value.status == status
        with pytest.raises(StatusError):
            people.get("/api/v1/tenants/nobody", {})


def test_a_damaged_store_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    with opened_store(None, str(tmp_path)) as store:
        assert store.database.set_aside
    assert "corrupt-1" in capsys.readouterr().err
