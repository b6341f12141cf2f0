"""`make soak`: run each coverage-guided fuzzer for a while; end with 1 if any found something.

The corpus grows in `.soak/`, so that the next run goes on where this one stopped.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / ".soak"
SECONDS = 600


def main() -> int:
    """Run them one after the other; return the exit status."""
    parser = argparse.ArgumentParser("python -m tests.soak", description="Run the fuzzers.")
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, help="for each of them (%(default)s)"
    )
    seconds = parser.parse_args().seconds
    worst = 0
    for script in sorted(HERE.glob("fuzz_*.py")):
        folder = CORPUS / script.stem
        folder.mkdir(parents=True, exist_ok=True)
        options = [f"-max_total_time={seconds}", "-max_len=1500", f"-artifact_prefix={folder}-"]
        sys.stderr.write(f"{script.name} for {seconds} s …\n")
        done = subprocess.run([sys.executable, script, folder, *options], check=False)
        worst = max(worst, int(done.returncode != 0))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
