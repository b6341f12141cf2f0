"""The distribution as a whole: components, their dependencies, and the build."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "helexa"
# What each layer may be imported without: the layers above it (see the contracts).
ABOVE = {
    "util": ["protocol", "config", "cache", "mesh", "model_runtime", "cortex", "neuron", "cli"],
    "protocol": ["config", "cache", "mesh", "model_runtime", "cortex", "neuron", "cli"],
    "config": ["cache", "mesh", "model_runtime", "cortex", "neuron", "cli"],
    "cache": ["mesh", "model_runtime", "cortex", "neuron", "cli"],
    "mesh": ["cache", "model_runtime", "cortex", "neuron", "cli"],
    "model_runtime": ["cache", "mesh", "cortex", "neuron", "cli"],
    "cortex": ["neuron", "cli"],
    "neuron": ["cortex", "cli"],
    "cli": [],
}


def modules_of(component: str) -> list[str]:
    folder = SOURCE / component
    return [
        "helexa."
        + ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(folder.rglob("*.py"))
        if path.name not in {"guard.py", "xllamacpp_server.py"}
    ]


@pytest.mark.parametrize("component", ABOVE)
def test_each_component_imports_with_the_layers_above_it_hidden(component: str) -> None:
    """R0.1, R0.2, R0.6: components are importable on their own, in their layer."""
    hidden = [f"helexa.{name}" for name in ABOVE[component]]
    script = (
        "import importlib, sys\n"
        f"sys.modules.update(dict.fromkeys({hidden!r}))\n"
        f"for name in {modules_of(component)!r}: importlib.import_module(name)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def calls_of(name: str) -> set[str]:
    """Return the modules that call or define something of this name."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute | ast.Name):
                called = node.attr if isinstance(node, ast.Attribute) else node.id
                if called == name:
                    found.add(str(path.relative_to(SOURCE)))
    return found


def test_logging_is_configured_in_one_place_and_settings_are_read_in_one() -> None:
    """R0.3: no second logger set-up and no second config loader."""
    assert calls_of("basicConfig") == calls_of("dictConfig") == set()
    assert calls_of("fileConfig") == set()
    assert calls_of("PrintLoggerFactory") == {"util/logging.py"}
    assert calls_of("tomllib") == {"config/load.py"}


def test_one_manifest_declares_the_package_its_extras_and_its_command() -> None:
    """R0.5."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "helexa"
    assert {"llama", "hub", "dev"} <= set(project["optional-dependencies"])
    assert project["scripts"] == {"helexa": "helexa.cli.main:main"}
    assert project["license"] == "Apache-2.0"


def test_every_pin_has_a_hash_and_every_dependency_a_pin() -> None:
    """R0.7: the lock is whole."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = (ROOT / "requirements" / "run.lock").read_text()
    for requirement in project["dependencies"]:
        name = requirement.split(">=")[0].lower()
        assert f"\n{name}==" in f"\n{lock}", name
    pins = [line for line in lock.splitlines() if "==" in line and not line.startswith(" ")]
    assert all(line.endswith("\\") for line in pins)


def test_the_neuron_has_its_modules() -> None:
    """R0.28, R0.32: module responsibilities."""
    for name in ("runtime", "control_plane", "registry", "process"):
        assert (SOURCE / "neuron" / name).is_dir()
    for name in ("orchestrator", "gateway", "portal", "control_plane"):
        assert (SOURCE / "cortex" / name).is_dir()
    for name in ("mesh.py", "shutdown.py"):
        assert (SOURCE / "cortex" / name).is_file()


def test_a_wheel_builds_from_a_clean_copy_and_carries_everything(tmp_path: Path) -> None:
    """R0.36: a clean build of the whole workspace."""
    copy = tmp_path / "copy"
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    for name in names:
        if name.startswith(("src/", "pyproject", "hatch_build", "README", "LICENSE")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    commit = "0123456789abcdef0123456789abcdef01234567"
    (copy / ".git").mkdir()
    (copy / ".git" / "HEAD").write_text(commit)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")],
        cwd=copy, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (tmp_path / "out").glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    held = set(archive.namelist())
    wanted = {name.removeprefix("src/") for name in names if name.startswith("src/")}
    assert wanted <= held
    assert archive.read("helexa/commit.txt").decode().strip() == commit
