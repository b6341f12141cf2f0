"""The generated pages."""

from pathlib import Path

import pytest

from helexa.cli.manual import commands_page, main, pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["configuration.md", "engines.md", "commands.md", "api.md"])
def test_the_pages_in_the_docs_are_current(name: str) -> None:
    assert (DOCS / name).read_text() == pages()[name], "run: make docs"


def test_every_command_is_on_its_page() -> None:
    page = commands_page()
    for path in ("up", "cortex", "neuron", "config check", "config show", "chat", "pull"):
        assert f"## `helexa {path}`" in page


def test_pages_are_written_into_a_folder(tmp_path: Path) -> None:
    main(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(pages())
