"""Log lines: one a line, structured, without secrets."""

import io
import json
import logging as stdlib_logging

import pytest

from helexa.util import logging


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields() -> None:
    """R0.8: structured records."""
    stream = io.StringIO()
    logging.setup("info", "json", stream)
    logging.get("gateway").info("request", status=200, model="m")
    (line,) = lines_of(stream)
    assert line.items() >= {"event": "request", "status": 200, "component": "gateway"}.items()
    assert {"ts", "level"} <= set(line)


def test_setting_up_twice_writes_once() -> None:
    """R0.8: calling setup twice is harmless."""
    stream = io.StringIO()
    for _ in range(3):
        logging.setup("info", "json", stream)
    logging.get("a").info("once")
    stdlib_logging.getLogger("library").warning("once too")
    assert [line["event"] for line in lines_of(stream)] == ["once", "once too"]


def test_the_level_filters() -> None:
    stream = io.StringIO()
    logging.setup("warning", "json", stream)
    logging.get("a").info("no")
    logging.get("a").warning("yes")
    assert [line["event"] for line in lines_of(stream)] == ["yes"]


@pytest.mark.parametrize(("level", "style"), [("loud", "json"), ("info", "xml")])
def test_unknown_levels_and_styles_are_refused(level: str, style: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        logging.setup(level, style)


def test_secrets_are_replaced_and_counts_are_not() -> None:
    stream = io.StringIO()
    logging.setup("info", "json", stream)
    logging.get("a").info(
        "x", api_key="canary", Authorization="canary", join_token="canary",
        prompt_tokens=3, key_id="k1", join_token_file="/t",
        headers={"authorization": "canary", "inner": [{"x-api_key": "canary"}]},
    )  # fmt: skip
    assert "canary" not in stream.getvalue()
    (line,) = lines_of(stream)
    assert (line["prompt_tokens"], line["key_id"], line["join_token_file"]) == (3, "k1", "/t")


@pytest.mark.parametrize("style", ["json", "console"])
def test_control_characters_never_break_a_line(style: str) -> None:
    """S27: one event stays one line, and long fields are cut."""
    stream = io.StringIO()
    logging.setup("info", style, stream)
    logging.get("a").info("x", model="a\r\nINFO forged\x1b[31m\u2028", long="y" * 10_000)
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue()) < 4_000


def test_a_stream_that_is_closed_or_full_never_stops_the_work() -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    closed = io.StringIO()
    for stream in (closed, Full()):
        logging.setup("info", "json", stream)
        closed.close()
        logging.get("a").info("lost")
        stdlib_logging.getLogger("library").error("lost too")
