"""Looks into the gateway process while it is under load, with whatever profiler is installed."""

import shutil
import subprocess
from pathlib import Path

MISSING = "no profile: neither py-spy nor perf is installed"


def profile_command(process_id: int, duration_s: float, stem: Path) -> list[str] | None:
    """Return the command that profiles a process, None when no profiler is installed."""
    seconds = str(max(1, round(duration_s)))
    if (spy := shutil.which("py-spy")) is not None:
        output = str(stem.with_suffix(".svg"))
        options = ["--pid", str(process_id), "--duration", seconds, "--native", "-o", output]
        return [spy, "record", *options]
    if (perf := shutil.which("perf")) is not None:
        output = str(stem.with_suffix(".perf"))
        record = [perf, "record", "-q", "-g", "-o", output, "-p", str(process_id)]
        return [*record, "--", "sleep", seconds]
    return None


def start_profiler(
    process_id: int, duration_s: float, stem: Path
) -> subprocess.Popen[bytes] | None:
    """Start profiling for a while; the result goes to a file named after `stem`."""
    command = profile_command(process_id, duration_s, stem)
    if command is None:
        return None
    stem.parent.mkdir(parents=True, exist_ok=True)
    with stem.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
