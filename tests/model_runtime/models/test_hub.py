"""Files of a hub, against a stand-in on loopback."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from helexa.model_runtime.models.hub import HubFetcher
from helexa.model_runtime.models.source import HubSource
from helexa.util.errors import AuthError, SourceError
from tests.fakes.hub_server import HubServer, serving

SOURCE = HubSource("o/r", "q/a.gguf")
DATA = b"weights" * 1000


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HubServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The library's own sources of endpoint and token must not matter.
    monkeypatch.setenv("HF_TOKEN", "hf_from_environment")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    async with serving(HubServer({"o/r/q/a.gguf": DATA})) as server:
        yield server


async def test_a_file_is_found_with_its_size_and_digest(hub: HubServer) -> None:
    found = await HubFetcher(hub.endpoint).find(SOURCE)
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()
    assert found.remote.size_bytes == len(DATA)
    assert found.remote.url.startswith(hub.endpoint)
    assert set(hub.tokens) == {""}


async def test_a_small_file_has_no_digest_but_a_tag(hub: HubServer) -> None:
    hub.small = True
    found = await HubFetcher(hub.endpoint).find(SOURCE)
    assert (found.sha256, found.etag) == (None, "abc123")


async def test_the_token_comes_from_its_file_and_stays_with_the_hub(
    hub: HubServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("hf_mine\n")
    found = await HubFetcher(hub.endpoint + "/", token).find(SOURCE)
    assert hub.tokens == ["Bearer hf_mine"]
    assert found.remote.headers == {"Authorization": "Bearer hf_mine"}


async def test_an_address_elsewhere_does_not_get_the_token(hub: HubServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("hf_mine")
    async with serving(HubServer(hub.files)) as elsewhere:
        hub.cdn = elsewhere.endpoint.replace("127.0.0.1", "localhost")
        found = await HubFetcher(hub.endpoint, token).find(SOURCE)
        assert found.remote.url.startswith(hub.cdn)
        assert found.remote.headers == {}
        assert found.sha256 == hashlib.sha256(DATA).hexdigest()
        assert elsewhere.tokens == []


@pytest.mark.parametrize("content", ["", "two words", "x" * 5000, "zeile\nzwei"])
async def test_a_bad_token_file_is_told_without_its_content(
    hub: HubServer, tmp_path: Path, content: str
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    with pytest.raises(AuthError) as caught:
        await HubFetcher(hub.endpoint, token).find(SOURCE)
    assert caught.value.error_id == "HX-0565"
    assert "words" not in caught.value.message
    with pytest.raises(AuthError):
        await HubFetcher(hub.endpoint, tmp_path / "missing").find(SOURCE)


async def test_a_missing_file_is_not_found(hub: HubServer) -> None:
    with pytest.raises(SourceError) as caught:
        await HubFetcher(hub.endpoint).find(HubSource("o/r", "b.gguf"))
    assert caught.value.error_id == "HX-0561"


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_access_is_an_auth_error(hub: HubServer, status: int) -> None:
    hub.refuse = status
    with pytest.raises(AuthError) as caught:
        await HubFetcher(hub.endpoint).find(SOURCE)
    assert caught.value.error_id == "HX-0564"


async def test_a_hub_in_trouble_or_absent_is_told(hub: HubServer) -> None:
    hub.refuse = 500
    with pytest.raises(SourceError, match="answers 500") as caught:
        await HubFetcher(hub.endpoint).find(SOURCE)
    assert caught.value.error_id == "HX-0562"
    with pytest.raises(SourceError) as caught:
        await HubFetcher("http://127.0.0.1:1").find(SOURCE)
    assert caught.value.error_id == "HX-0562"
