"""Plug-ins by name: built in, installed, missing and broken."""

import sys
from pathlib import Path

import pytest

from helexa.util import plugins
from helexa.util.errors import ConfigError


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a good and a broken plug-in, as an installer leaves it."""
    info = tmp_path / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tests.helexa]\n"
        "good = plug_module_of_tests:answer\n"
        "broken = plug_module_of_tests:nothing\n"
    )
    (tmp_path / "plug_module_of_tests.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plug_module_of_tests", raising=False)


def test_what_is_built_in_comes_first() -> None:
    assert plugins.load("tests.helexa", "good", {"good": 1}, "[x] y") == 1


@pytest.mark.usefixtures("installed")
def test_an_installed_one_is_found_by_its_name() -> None:
    assert plugins.load("tests.helexa", "good", {}, "[x] y") == 42


@pytest.mark.usefixtures("installed")
def test_one_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"\[x\] y: nothing installed is called 'bad'") as caught:
        plugins.load("tests.helexa", "bad", {"own": 1}, "[x] y")
    assert "broken, good, own" in caught.value.message
    assert "tests.helexa" in caught.value.hint


@pytest.mark.usefixtures("installed")
def test_one_that_cannot_be_loaded_is_told_with_the_reason() -> None:
    with pytest.raises(ConfigError, match="plug_module_of_tests:nothing") as caught:
        plugins.load("tests.helexa", "broken", {}, "[x] y")
    assert "nothing" in caught.value.message
