"""Provisioning strategies by name."""

import sys
from pathlib import Path

import pytest

from helexa.cortex.control_plane.provisioners import BUILT_IN, provisioner_of
from helexa.util.errors import ConfigError
from tests.conformance.provisioner_contract import check_strategy

MODULE = """
from helexa.cortex.orchestrator.strategy import DefaultStrategy

class Eager(DefaultStrategy):
    pass

class Half:
    def resize(self): ...

def broken():
    raise OSError("no licence")
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that offers strategies, as an installer leaves it."""
    info = tmp_path / "provisioners-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: provisioners\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[helexa.provisioners]\n"
        "eager = provisioner_module_of_tests:Eager\n"
        "half = provisioner_module_of_tests:Half\n"
        "broken = provisioner_module_of_tests:broken\n"
    )
    (tmp_path / "provisioner_module_of_tests.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "provisioner_module_of_tests", raising=False)


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_built_in_keeps_the_contract(name: str) -> None:
    check_strategy(provisioner_of(name))


@pytest.mark.usefixtures("installed")
def test_an_installed_one_is_found_by_its_name_and_keeps_the_contract() -> None:
    check_strategy(provisioner_of("eager"))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(("name", "told"), [
    ("nobody", r"\[provisioning\] strategy: nothing installed is called 'nobody'"),
    ("half", "is no provisioning strategy: it lacks retention_key"),
    ("broken", "cannot be made: .*no licence"),
])  # fmt: skip
def test_what_cannot_be_used_is_told_before_anything_starts(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        provisioner_of(name)
