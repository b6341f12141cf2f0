"""The documentation says what is true: codes, links, commands."""

import re
from pathlib import Path

import pytest

from helexa.protocol.errors import CODES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_error_code_is_documented_with_its_status() -> None:
    """R3.11: the enumeration is documented."""
    page = (ROOT / "docs" / "errors.md").read_text()
    for code, rule in CODES.items():
        assert f"| `{code.value}` | {rule.status} |" in page


def test_every_metric_is_documented_and_no_other() -> None:
    """Dashboards are built from this page: what is in it is emitted, and the reverse."""
    names = re.compile(r'"(helexa_[a-z_]+)"')
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.compile(r"^\| `(helexa_[a-z_]+)`", re.MULTILINE)
    assert set(names.findall(source)) == set(rows.findall(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    missing = [
        target for target in targets if "://" not in target and not (page.parent / target).exists()
    ]
    assert not missing


def test_every_make_word_of_the_readme_exists() -> None:
    words = re.findall(r"^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    assert words
    assert all(re.search(rf"^{word}:", makefile, re.MULTILINE) for word in words)
