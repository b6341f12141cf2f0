"""Output that is kept up to date."""

import sys
from collections.abc import Callable, Iterator

import pytest

from helexa.cli.live import every, show_live


class EndError(Exception):
    pass


def texts(*given: str) -> Callable[[], str]:
    left: Iterator[str] = iter(given)

    def text() -> str:
        found = next(left, None)
        if found is None:
            raise EndError
        return found

    return text


def test_what_is_piped_is_printed_again_only_when_it_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(EndError):
        show_live(texts("a", "a", "b"), refresh_s=0.001)
    assert capsys.readouterr().out == "a\nb\n"


def test_a_terminal_is_drawn_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(EndError):
        show_live(texts("a", "b"), refresh_s=0.001)
    assert capsys.readouterr().out == "\x1b[H\x1b[2Ja\n\x1b[H\x1b[2Jb\n"


def test_the_first_look_does_not_wait() -> None:
    assert next(every(3600.0)) is None
