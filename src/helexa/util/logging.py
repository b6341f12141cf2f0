"""Structured log lines: one event a line, JSON or key=value, safe to set up twice.

What it is not: a place for secrets. Values of keys that name a secret are replaced here, at the
sink, whatever the caller passed; control characters are escaped so that one event stays one line.
"""

import contextlib
import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog

LEVELS: Final = ("debug", "info", "warning", "error")
FIELD_CHARS_MAX: Final = 2048
_SECRET_WORDS: Final = ("authorization", "secret", "token", "api_key", "password", "cookie")
# Counts and public names that contain one of the words above and are no secrets.
_NOT_SECRET: Final = ("tokens", "token_id", "token_file", "key_id")

Event = MutableMapping[str, Any]


def _is_secret(key: str) -> bool:
    lowered = key.lower()
    if any(word in lowered for word in _NOT_SECRET):
        return False
    return any(word in lowered for word in _SECRET_WORDS)


def _clean(value: object) -> object:
    if isinstance(value, str):
        text = value if len(value) <= FIELD_CHARS_MAX else value[:FIELD_CHARS_MAX] + "…"
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if isinstance(value, bytes):
        return _clean(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {
            str(key): "[redacted]" if _is_secret(str(key)) else _clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def redact(_logger: object, _method: str, event: Event) -> Event:
    """Replace secrets, escape control characters and cut long fields."""
    for key, value in event.items():
        event[key] = "[redacted]" if _is_secret(key) else _clean(value)
    return event


def setup(level: str = "info", style: str = "console", stream: TextIO | None = None) -> None:
    """Configure logging for this process: `level` of LEVELS, `style` "json" or "console".

    Calling it again replaces the earlier set-up; no line is ever written twice.
    Raises ValueError for an unknown level or style.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    if style not in {"json", "console"}:
        raise ValueError(f"log style {style!r} is not json or console")
    target = stream if stream is not None else sys.stderr
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=target.isatty(), pad_event_to=0, timestamp_key="ts"
        )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Sink(target))),
        cache_logger_on_first_use=False,
    )
    _adopt_stdlib(level, target)


def _adopt_stdlib(level: str, target: TextIO) -> None:
    """Let the libraries' own log records (uvicorn, aiohttp, asyncio) reach the same stream."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if getattr(handler, "helexa", False):
            root.removeHandler(handler)
    handler = _ToStructlog()
    handler.helexa = True  # type: ignore[attr-defined]  # our mark, read four lines above
    root.addHandler(handler)
    root.setLevel(logging.WARNING if level != "debug" else logging.INFO)


class _Sink:
    """A stream that a log line cannot fail on: a closed or full stderr must not stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written; a line that cannot is lost, and nothing else."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as far as there is somebody to read."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name)
        detail = {"exc_info": record.exc_info} if record.exc_info else {}
        logger.log(record.levelno, record.getMessage(), logger=record.name, **detail)


def get(name: str) -> Any:
    """Return the logger of a component; `name` is written as `component`."""
    return structlog.get_logger(component=name)
