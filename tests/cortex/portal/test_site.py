"""The portal's routes and headers."""

from starlette.testclient import TestClient

from helexa.cortex.portal.site import portal_app
from tests.fakes.fleet import fleet, model


def client() -> TestClient:
    return TestClient(portal_app(lambda: fleet(model("m")).snapshot(0.0), lambda: 1.0, "0.1.0"))


def test_the_page_is_html_without_scripts() -> None:
    answer = client().get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy


def test_its_style_is_a_file_of_its_own() -> None:
    answer = client().get("/style.css")
    assert answer.headers["content-type"].startswith("text/css")
    assert "style.css" in client().get("/").text


def test_nothing_can_be_posted() -> None:
    assert client().post("/").status_code == 405


def test_it_can_be_asked_whether_it_lives() -> None:
    assert client().get("/health").json() == {"status": "ok"}
