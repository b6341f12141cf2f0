"""The tree keeps its own rules: sizes, twins, no strays, nothing that only this machine has."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "helexa"
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# What may lie at the top of the tree, each with its reader.
TOP = {
    ".ci": "continuous integration", ".gitignore": "git", "CHANGELOG.md": "users",
    "CONTRIBUTING.md": "contributors", "LICENSE": "users", "Makefile": "contributors",
    "README.md": "users", "bench": "make bench", "docs": "users", "examples": "users",
    "hatch_build.py": "hatchling",
    "pyproject.toml": "pip, linters", "requirements": "pip", "src": "users", "tests": "pytest",
}  # fmt: skip
SUFFIXES = {
    "src": {".py", ".typed"},
    "tests": {".py", ".json", ".mjs", ".bin", ".txt", ".sse", ".toml"},
    "bench": {".py", ".c", ".h", ".md"},
    "docs": {".md", ".svg", ".json"},
    "examples": {".md", ".toml", ".json", ".py", ".sh"},
    "requirements": {".lock", ".in"},
}
# Modules whose behaviour is that of what they wire or name; the test that covers them is given.
NO_TWIN = {
    "store/migrations/env.py": "tests/store/test_migrate.py",
    "store/migrations/versions/v0001_identity.py": "tests/store/test_migrate.py",
    "__main__.py": "tests/cli",
}


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\n")  # fmt: skip
    return [ROOT / name for name in names if name and (ROOT / name).exists()]


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_stay_short_enough_to_be_read_at_once() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in python_files()}
    long = {
        name: count
        for name, count in lengths.items()
        if count > (FILE_LINES_MAX if name.startswith(("src", "bench")) else FILE_LINES_MAX * 2)
    }
    assert not long


@pytest.mark.parametrize("path", [p for p in python_files() if "src" in p.parts], ids=relative)
def test_functions_stay_short_enough_to_be_seen_at_once(path: Path) -> None:
    tree = ast.parse(path.read_text())
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


def test_every_module_has_its_test() -> None:
    """RC.5: tests mirror the tree."""
    missing = []
    for path in python_files():
        if SOURCE not in path.parents or path.name == "__init__.py":
            continue
        inner = path.relative_to(SOURCE)
        twin = ROOT / "tests" / inner.parent / f"test_{inner.name}"
        if not twin.exists() and str(inner) not in NO_TWIN:
            missing.append(str(inner))
    assert not missing


def test_no_file_is_here_by_accident() -> None:
    strays = []
    for path in tracked():
        name = relative(path)
        top = name.partition("/")[0]
        if top not in TOP or ("/" in name and path.suffix not in SUFFIXES.get(top, {"", ".yml"})):
            strays.append(name)
    assert not strays


def test_nothing_names_a_registry_host_or_a_path_of_one_machine() -> None:
    """R0.7: the pins carry hashes and no host."""
    hosts = re.compile(
        r"pyp[i]\.org|pythonhoste[d]|npmj[s]\.(org|com)|registry\.np[m]|/wor[k]/|/roo[t]/"
    )
    named = [
        f"{relative(path)}:{number}"
        for path in tracked()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if hosts.search(line)
    ]
    assert not named


def test_an_error_id_belongs_to_one_module() -> None:
    """An id is looked up by people: it must lead to one place."""
    places: dict[str, set[str]] = {}
    for path in python_files():
        if SOURCE in path.parents:
            for found in re.findall(r'error_id="(HX-[0-9]{4})"', path.read_text()):
                places.setdefault(found, set()).add(relative(path))
    assert places
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_what_calls_itself_pure_is_held_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    held = {
        name
        for contract in contracts["contracts"]
        if contract["name"].startswith("Pure modules")
        for name in contract["source_modules"]
    }
    claims = {
        ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        for path in python_files()
        if SOURCE in path.parents
        and re.search(r"\bPure\b", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert claims
    assert not {
        name
        for name in claims
        if not any(name == one or name.startswith(f"{one}.") for one in held)
    }


def test_no_unfinished_work_is_left_in_the_code() -> None:
    words = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X]|NotImplementedErro[r])\b")
    left = [
        f"{relative(path)}:{number}"
        for path in python_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not left


def test_every_public_name_of_protocol_and_interfaces_is_described() -> None:
    """R0.39: protocol types and runtime interfaces have docstrings."""
    bare = []
    for path in [*(SOURCE / "protocol").rglob("*.py"), SOURCE / "model_runtime" / "interfaces.py"]:
        module = ast.parse(path.read_text())
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        for node in [*module.body, *(inner for one in classes for inner in one.body)]:
            public = isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                bare.append(f"{relative(path)}: {node.name}")
    assert not bare
