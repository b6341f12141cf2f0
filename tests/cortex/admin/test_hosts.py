"""Which Host headers an API without keys answers to."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from helexa.cortex.admin.hosts import HostGuard, host_of


async def status_for(*hosts: bytes) -> int:
    sent: list[MutableMapping[str, Any]] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", host) for host in hosts]}
    await HostGuard(app, "cortex.lan")(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "host",
    [b"127.0.0.1:8040", b"localhost", b"LOCALHOST:8040", b"[::1]:8040", b"10.0.0.7",
     b"cortex.lan:8040"],
)  # fmt: skip
async def test_addresses_localhost_and_the_configured_name_are_answered(host: bytes) -> None:
    assert await status_for(host) == 200


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"evil.example:8040", b"localhost.evil.example", b"x/?", b"", b"a@127.0.0.1",
     b"127.0.0.1.evil.example", b"localhost:80:80", b"[::1]evil.example"],
)  # fmt: skip
async def test_other_names_are_refused(host: bytes) -> None:
    """DNS rebinding: a page's own name that resolves to us is not ours."""
    assert await status_for(host) == 421


async def test_no_host_and_two_hosts_are_refused() -> None:
    assert await status_for() == 421
    assert await status_for(b"localhost", b"localhost") == 421


def test_a_hosts_name_is_told_without_its_port() -> None:
    assert host_of("[::1]:80") == "::1"
    assert host_of("::1") == "::1"
    assert host_of("A.B:80") == "a.b"
