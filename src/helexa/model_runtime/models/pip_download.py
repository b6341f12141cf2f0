"""A program, not a module: runs pip with its temporary files in a folder of ours.

    python -P pip_download.py FOLDER LIMIT_BYTES PIP_ARGUMENTS…

pip unpacks nothing here and runs nothing of what it downloads; but it writes a download to the
system's temporary folder first, which may be small or in memory, and it knows no upper size. Both
are settled before it starts. Exit status 3 means that this Python has no pip.
"""

import importlib.util
import resource
import runpy
import sys
import tempfile

NO_PIP = 3


def main(arguments: list[str]) -> None:
    """Set up the process and become pip."""
    folder, limit_bytes, *pip_arguments = arguments
    if importlib.util.find_spec("pip") is None:
        sys.stderr.write("this Python has no pip\n")
        raise SystemExit(NO_PIP)
    tempfile.tempdir = folder
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    limit = int(limit_bytes)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv = ["pip", *pip_arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
