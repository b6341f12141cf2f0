"""Addresses as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helexa.config.sockets import Socket, Url, is_loopback, parse_socket, parse_url


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ("127.0.0.1:8080", Socket("127.0.0.1", 8080)),
        ("[::1]:8080", Socket("::1", 8080)),
        ("[0:0:0:0:0:0:0:1]:1", Socket("::1", 1)),
        (":9040", Socket("", 9040)),
        ("localhost:0", Socket("localhost", 0)),
        (" box-1.lan:65535 ", Socket("box-1.lan", 65535)),
    ],
)
def test_a_socket_is_read(text: str, socket: Socket) -> None:
    assert parse_socket(text) == socket


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8080", "has no port"),
        ("localhost", "has no port"),
        ("127.0.0.1:", "no port from 0 to 65535"),
        ("127.0.0.1:65536", "no port from 0 to 65535"),
        ("127.0.0.1:-1", "no port from 0 to 65535"),
        ("127.0.0.1:８０", "no port from 0 to 65535"),
        ("::1:8080", "in brackets"),
        ("[zz]:8080", "no IPv6 address"),
        ("300.1.1.1:80", "no IPv4 address"),
        ("a b:80", "no host name"),
        ("http://x:80", "in brackets"),
    ],
)
def test_a_socket_that_cannot_be_read_says_why_and_shows_itself(text: str, said: str) -> None:
    """R0.16: an unparsable socket gives a specific message."""
    with pytest.raises(ValueError) as caught:
        parse_socket(text)
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_socket_or_a_value_error(text: str) -> None:
    try:
        socket = parse_socket(text)
    except ValueError:
        return
    assert parse_socket(str(socket)) == socket


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        (":80", "127.0.0.1:80", True),
        ("10.0.0.1:80", "0.0.0.0:80", True),
        ("[::]:80", "10.0.0.1:80", True),
        ("localhost:80", "127.0.0.1:80", True),
        ("localhost:80", "[::1]:80", True),
        ("localhost:80", "10.0.0.1:80", False),
        ("10.0.0.1:80", "10.0.0.2:80", False),
        (":0", ":0", False),
    ],
)
def test_sockets_overlap_when_one_would_take_the_place_of_the_other(
    one: str, other: str, overlap: bool
) -> None:
    assert parse_socket(one).overlaps(parse_socket(other)) is overlap
    assert parse_socket(other).overlaps(parse_socket(one)) is overlap


def test_loopback_is_known_in_all_its_forms_and_a_wildcard_is_none() -> None:
    loopback = ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "::1"]
    assert all(is_loopback(host) for host in loopback)
    assert not any(is_loopback(host) for host in ["", "0.0.0.0", "::", "10.0.0.1", "box.lan"])


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://127.0.0.1:9040", Url("ws", "127.0.0.1", 9040)),
        ("wss://cortex.lan", Url("wss", "cortex.lan", 443)),
        ("http://[::1]:11434/v1/", Url("http", "::1", 11434, "/v1")),
    ],
)
def test_a_url_is_read(text: str, url: Url) -> None:
    assert parse_url(text, ("ws", "wss", "http")) == url


def test_a_url_is_written_without_its_usual_port() -> None:
    assert str(parse_url("https://hub.example:443/x/", ("https",))) == "https://hub.example/x"
    assert str(parse_url("http://[::1]:8080", ("http",))) == "http://[::1]:8080"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("127.0.0.1:9040", "does not start with ws://"),
        ("http://x", "does not start with ws://"),
        ("ws://", "names no host"),
        ("ws://x:99999", "is not a URL"),
        ("ws://x y", "holds a space"),
        ("ws://x?a=1", "query or fragment"),
    ],
)
def test_a_url_that_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_url(text, ("ws", "wss"))
    assert said in str(caught.value)


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        parse_url("https://me:hunter2@example.org", ("https",))
    assert "hunter2" not in str(caught.value)
