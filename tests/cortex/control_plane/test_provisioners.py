"""Provisioning strategies by name."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest

from helexa.cortex.control_plane.provisioners import BUILT_IN, provisioner_of
from helexa.cortex.orchestrator.retention import Held
from helexa.cortex.orchestrator.rules import ModelRules, ProvisioningPolicy
from helexa.cortex.orchestrator.sizing import Scale
from helexa.cortex.orchestrator.strategy import DEFAULT_STRATEGY
from helexa.protocol.ids import ModelId
from helexa.util.errors import ConfigError
from tests.conformance.provisioner_contract import LOADS, check_strategy
from tests.fakes.control_plane import recording_logger

MODULE = """
from helexa.cortex.orchestrator.strategy import DefaultStrategy

class Eager(DefaultStrategy):
    pass

class Half:
    def resize(self): ...

class Wild:
    answers = {}
    def resize(self, scale, load, rules, policy, now):
        return self.answers["resize"]()
    def retention_key(self, held):
        return self.answers["retention_key"]()

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
        "wild = provisioner_module_of_tests:Wild\n"
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


def fails() -> None:
    raise RuntimeError("no forecast today")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "answer",
    [fails, lambda: None, lambda: Scale("two"), lambda: ("z",), lambda: (math.nan,)],  # type: ignore[arg-type]
)
def test_what_a_plug_in_cannot_answer_the_default_does_and_it_is_told_once(answer: Any) -> None:
    """A strategy that raised ended all loading and unloading, with a traceback a second."""
    log: list[dict[str, Any]] = []
    strategy = provisioner_of("wild", recording_logger(log))
    sys.modules["provisioner_module_of_tests"].Wild.answers = dict.fromkeys(
        ("resize", "retention_key"), answer
    )
    asked = (Scale(1), LOADS[0], ModelRules(), ProvisioningPolicy(), 10.0)
    held = Held(
        ModelId("m"), 1, ModelRules(), idle_s=1.0, busy=False, loaded=True, leaving=False,
        loaded_since_s=0.0, ours=True, surplus=False,
    )  # fmt: skip
    for _ in range(2):
        assert strategy.resize(*asked) == DEFAULT_STRATEGY.resize(*asked)
        assert strategy.retention_key(held) == ()
    assert [line["event"] for line in log] == ["provisioner_failed"] * 2
    assert "the default is used instead" in log[0]["because"]
