"""The bench's harness, end to end, against the mock alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scenarios import QUICK, SCENARIOS, Scenario
from bench.tools import BENCH_DIR, find_compiler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or find_compiler() is None,
    reason="the tools need epoll and a C compiler",
)


def test_one_scenario_is_measured_and_written_as_json(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.run", "--targets", "direct", "--only", "burst-64"]
    command += ["--rounds", "2", "--duration", "0.3", "--quick", "--json", str(figures)]
    done = subprocess.run(
        command, cwd=BENCH_DIR.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "burst-64" in done.stdout
    document = json.loads(figures.read_text())
    assert len(document["runs"]["burst-64"]["direct"]) == 2
    assert document["medians"]["burst-64"]["direct"]["events_per_s"] > 0
    assert document["problems"] == []


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[item.name for item in SCENARIOS])
def test_the_load_tool_knows_the_options_of_each_scenario(scenario: Scenario) -> None:
    usage = (BENCH_DIR / "load_options.c").read_text()
    options = [argument.partition("=")[0] for argument in scenario.arguments(QUICK)]
    assert [option for option in options if f'{{"{option[2:]}", ' not in usage] == []
