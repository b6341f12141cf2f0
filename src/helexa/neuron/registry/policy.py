"""What a cortex may ask of this neuron: the neuron's own rules. Pure.

The rules are numbered as in docs/security.md; a refusal carries the number. A cortex is not
trusted: everything here is decided by the neuron's local config and the engines' descriptions.
What needs the file system (R5: real paths; R1: owner and mode of binaries) is checked again by
the shell, at the moment of use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from helexa.model_runtime.interfaces import EngineDescription
from helexa.protocol.ids import model_id_problem
from helexa.protocol.model import ModelConfig

RULE_ENGINE: Final = "R1"
RULE_OPTIONS: Final = "R2"
RULE_PATH: Final = "R5"
RULE_ENDPOINT: Final = "R7"
SOURCE_CHARS_MAX: Final = 1024
ALIASES_MAX: Final = 64
OPTIONS_MAX: Final = 64
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Violation:
    """The rule that a config breaks, and a sentence that says how."""

    rule: str
    because: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The neuron's local rules.

    `engines`: the allow-listed engines by name. `model_folders`: absolute paths without a trailing
    slash. `attach_urls`: base URLs of servers beyond loopback that may be attached to; a
    `listen_endpoint` must lie below one of them, unless `attach_any` allows every server.
    """

    engines: Mapping[str, EngineDescription]
    model_folders: tuple[str, ...] = ()
    attach_urls: tuple[str, ...] = ()
    attach_any: bool = False

    def violation(self, config: ModelConfig) -> Violation | None:
        """Return the first rule that `config` breaks, or None."""
        engine = self.engines.get(config.engine)
        if engine is None:
            allowed = ", ".join(sorted(self.engines)) or "none"
            return Violation(
                RULE_ENGINE, f"engine {config.engine!r} is not allowed here; allowed: {allowed}"
            )
        return (
            _names_violation(config)
            or _options_violation(config, engine)
            or self._source_violation(config.source)
            or self._endpoint_violation(config.listen_endpoint, engine)
        )

    def _source_violation(self, source: str | None) -> Violation | None:
        if source is None:
            return None
        if len(source) > SOURCE_CHARS_MAX or not source.isprintable():
            return Violation(
                RULE_PATH,
                f"source has {len(source)} characters or control characters in it;"
                f" allowed: up to {SOURCE_CHARS_MAX} printable characters",
            )
        scheme = source.partition(":")[0]
        if scheme in {"hf", "pypi"}:
            return None
        parts = source.replace("\\", "/").split("/")
        inside = not source.startswith("/") or any(
            source.startswith(folder.rstrip("/") + "/") for folder in self.model_folders
        )
        if ".." in parts or source.startswith(("~", "-")) or "://" in source or not inside:
            folders = ", ".join(self.model_folders) or "none is configured"
            return Violation(
                RULE_PATH, f"source {source!r} is outside the model folders ({folders})"
            )
        return None

    def _endpoint_violation(
        self, endpoint: str | None, engine: EngineDescription
    ) -> Violation | None:
        if endpoint is None:
            return None
        if engine.spawns:
            return Violation(
                RULE_ENDPOINT,
                f"engine {engine.name!r} chooses its own endpoint; listen_endpoint is for"
                " engines that attach to a running server",
            )
        place = _Place.of(endpoint)
        if place is None:
            return Violation(
                RULE_ENDPOINT,
                f"listen_endpoint {endpoint[:200]!r} must be http://HOST:PORT or https://HOST:PORT"
                " with an optional path and nothing else",
            )
        if self.attach_any or place.host in LOOPBACK_HOSTS:
            return None
        allowed = (_Place.of(url) for url in self.attach_urls)
        if any(base is not None and place.is_below(base) for base in allowed):
            return None
        names = ", ".join(("loopback", *self.attach_urls))
        return Violation(RULE_ENDPOINT, f"{endpoint!r} may not be attached to; allowed: {names}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a URL leads, in a form that can be compared."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, text: str) -> "_Place | None":
        """Read a base URL; None where it is not one, or has a user, a query or odd characters."""
        if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
            return None
        try:
            url = urlsplit(text)
            host, port = url.hostname, url.port
        except ValueError:
            return None
        plain = url.username is None and not url.query and not url.fragment
        if url.scheme not in _PORTS or not host or not plain or ".." in url.path:
            return None
        return cls(url.scheme, host, port or _PORTS[url.scheme], url.path.rstrip("/"))

    def is_below(self, base: "_Place") -> bool:
        """Tell whether this is the same server, at or below the same path."""
        same = (self.scheme, self.host, self.port) == (base.scheme, base.host, base.port)
        return same and (self.path == base.path or self.path.startswith(base.path + "/"))


def _names_violation(config: ModelConfig) -> Violation | None:
    if len(config.aliases) > ALIASES_MAX:
        return Violation(
            RULE_OPTIONS, f"{len(config.aliases)} aliases; allowed: up to {ALIASES_MAX}"
        )
    for name in (config.id, *config.aliases):
        problem = model_id_problem(name)
        if problem is not None:
            return Violation(RULE_OPTIONS, f"name {name[:200]!r}: {problem}")
    return None


def _options_violation(config: ModelConfig, engine: EngineDescription) -> Violation | None:
    if len(config.options) > OPTIONS_MAX:
        return Violation(
            RULE_OPTIONS, f"{len(config.options)} options; allowed: up to {OPTIONS_MAX}"
        )
    try:
        problems = engine.problems(config)
    except Exception as error:  # noqa: BLE001  # a config from afar must not end the neuron
        problems = [f"the engine cannot read this config: {type(error).__name__}: {error}"]
    return Violation(RULE_OPTIONS, "; ".join(problems)) if problems else None
