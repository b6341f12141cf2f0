"""The load tool and the mock backend: compiling them, and running the load tool once."""

import fcntl
import json
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import pinned

BENCH_DIR = Path(__file__).resolve().parent
BUILD_DIR = BENCH_DIR / "build"
COMPILER_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
SOURCES: Mapping[str, tuple[str, ...]] = {
    "load": ("load.c", "load_options.c", "response.c", "samples.c", "stream_check.c"),
    "mock": ("mock.c", "mock_text.c"),
}


class ToolError(Exception):
    """A tool could not be built, or did not do its work."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the compiled programs are."""

    load: Path
    mock: Path


def _is_fresh(program: Path) -> bool:
    """Tell whether the program is younger than every C file here."""
    if not program.exists():
        return False
    built_at = program.stat().st_mtime
    return all(source.stat().st_mtime < built_at for source in BENCH_DIR.glob("*.[ch]"))


def find_compiler() -> str | None:
    """Return the C compiler, None when there is none."""
    return shutil.which("gcc") or shutil.which("cc")


def build_tools(directory: Path = BUILD_DIR) -> Tools:
    """Compile what is missing or out of date."""
    compiler = find_compiler()
    if compiler is None:
        raise ToolError("the bench needs a C compiler: neither gcc nor cc is installed")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test workers may come here at once
        for name, sources in SOURCES.items():
            program = directory / name
            if _is_fresh(program):
                continue
            files = [str(BENCH_DIR / source) for source in sources]
            command = [compiler, *COMPILER_FLAGS, "-o", str(program), *files]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ToolError(f"compiling {name} failed:\n{done.stderr}")
    return Tools(load=directory / "load", mock=directory / "mock")


@dataclass(frozen=True, slots=True)
class LoadRun:
    """What one run of the load tool said, and what it cost."""

    report: Mapping[str, Any]
    wall_s: float
    cpu_s: float
    notes: str


def run_load(
    command: Sequence[str],
    *,
    core: int | None = None,
    timeout_s: float = 300.0,
    on_holding: Callable[[], None] | None = None,
) -> LoadRun:
    """Run the load tool to its end; `on_holding` is called once it holds all its streams."""
    started_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        pinned(list(command), core),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        notes = ""
        try:
            if on_holding is not None:
                assert process.stderr is not None
                notes = process.stderr.readline()
                if notes.startswith("holding"):
                    on_holding()
            output, rest = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise ToolError(f"the load tool did not end within {timeout_s:.0f} s") from error
        except BaseException:
            process.kill()
            raise
    notes += rest
    if process.returncode != 0:
        raise ToolError(f"the load tool failed: {notes.strip() or process.returncode}")
    report: dict[str, Any] = json.loads(output)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return LoadRun(
        report=report,
        wall_s=time.monotonic() - started_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        notes=notes.strip(),
    )
