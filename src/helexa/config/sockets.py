"""Addresses as people write them: `host:port`, `[::1]:port`, `:port`, and URLs. Pure.

A name is never resolved here: what a setting means must not depend on the network.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

OFF: Final = "off"
SOCKET_FORMS: Final = 'host:port, [ipv6]:port, :port for every interface, or "off"'
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*\Z"
)
_WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104  (compared with, not bound)


@dataclass(frozen=True, slots=True)
class Socket:
    """Where a server listens. An empty host is every interface; port 0 is any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def is_wildcard(self) -> bool:
        """It listens on every interface."""
        return self.host in _WILDCARDS

    def overlaps(self, other: "Socket") -> bool:
        """Tell whether the two cannot be listened on at the same time. Port 0 never conflicts."""
        if self.port != other.port or self.port == 0:
            return False
        return self.is_wildcard or other.is_wildcard or _same_host(self.host, other.host)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine answers to `host` (localhost, 127.0.0.0/8, ::1)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _same_host(one: str, other: str) -> bool:
    if "localhost" in {one.lower(), other.lower()}:
        return is_loopback(one) and is_loopback(other)
    return one.lower() == other.lower()


def parse_socket(text: str) -> Socket:
    """Read `host:port`; raises ValueError that says what is wrong and what is allowed."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port; write {SOCKET_FORMS}")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{text!r} has no port from 0 to 65535 after its last colon")
    return Socket(_parse_host(host, text), int(port))


def _parse_host(host: str, text: str) -> str:
    if not host:
        return ""
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError(f"{text!r} has no IPv6 address between its brackets") from None
    if ":" in host:
        raise ValueError(f"{text!r} is ambiguous: write an IPv6 address in brackets, [::1]:8080")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{text!r} has no IPv4 address before its port") from None
    if not _NAME.match(host):
        raise ValueError(f"{text!r} has no host name before its port; write {SOCKET_FORMS}")
    return host


_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute URL without credentials, query or fragment, and without a trailing slash."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """It names this very machine."""
        return is_loopback(self.host)

    @property
    def is_encrypted(self) -> bool:
        """Bytes to it travel under TLS."""
        return self.scheme in {"https", "wss"}


def parse_url(text: str, schemes: tuple[str, ...]) -> Url:
    """Read a URL of one of `schemes`; raises ValueError that says what is wrong."""
    wanted = " or ".join(f"{scheme}://host:port" for scheme in schemes)
    if not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} holds a space or a control character; write {wanted}")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL ({error}); write {wanted}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"{text!r} does not start with {' or '.join(s + '://' for s in schemes)}")
    if not parts.hostname:
        raise ValueError(f"{text!r} names no host; write {wanted}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL may not carry credentials; put keys into a file of their own")
    if parts.query or parts.fragment:
        raise ValueError(f"{text!r} has a query or fragment; write {wanted}")
    return Url(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], parts.path.rstrip("/"))


def _to_socket(value: object) -> object:
    if isinstance(value, str):
        return None if value.strip() in {OFF, ""} else parse_socket(value)
    if value is None or isinstance(value, Socket):
        return value
    raise ValueError(f"a socket is a text: {SOCKET_FORMS}")


def _to_url(schemes: tuple[str, ...]) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, str):
            return parse_url(value, schemes) if value.strip() else None
        if value is None or isinstance(value, Url):
            return value
        raise ValueError(f"a URL is a text that starts with {' or '.join(schemes)}")

    return BeforeValidator(read)


def _tell(value: Socket | Url | None) -> str:
    return OFF if value is None else str(value)


_SOCKET_SCHEMA: Final = WithJsonSchema(
    {"type": "string", "description": SOCKET_FORMS, "examples": ["127.0.0.1:8080", ":8080", OFF]}
)
_URL_SCHEMA: Final = WithJsonSchema({"type": "string", "format": "uri"})

ListenSocket = Annotated[
    Socket | None, BeforeValidator(_to_socket), PlainSerializer(_tell), _SOCKET_SCHEMA
]
"""A socket to listen on, or None for "off"."""

WebsocketUrl = Annotated[
    Url | None, _to_url(("ws", "wss")), PlainSerializer(lambda u: "" if u is None else str(u)),
    _URL_SCHEMA,
]  # fmt: skip
HttpUrl = Annotated[
    Url | None, _to_url(("http", "https")), PlainSerializer(lambda u: "" if u is None else str(u)),
    _URL_SCHEMA,
]  # fmt: skip


def _to_server(value: object) -> object:
    return parse_url(value, ("http", "https")) if isinstance(value, str) else value


ServerUrl = Annotated[Url, BeforeValidator(_to_server), PlainSerializer(str), _URL_SCHEMA]
"""A URL that must be there."""
