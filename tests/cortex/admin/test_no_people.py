"""A cortex without a store says how to have one."""

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from helexa.cortex.admin.no_people import no_people
from helexa.cortex.admin.people import CHANGES, READS, TEST_PATH
from helexa.cortex.admin.writes import Writes
from tests.fakes.control_plane import recording_logger

CLIENT = TestClient(
    Starlette(routes=list(no_people(Writes(lambda _event: None, recording_logger([])))))
)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_route_of_the_store_says_so(method: str) -> None:
    for path in (TEST_PATH, *(each.path for each in (*READS, *CHANGES))):
        answer = CLIENT.request(method, path)
        assert answer.status_code == 501
        assert "--auth store" in answer.json()["error"]["message"]
