"""Which build this is: its version, and the commit it was made from where that can be known.

A wheel carries the commit in a file that `hatch_build.py` wrote; a checkout is asked itself, by
reading its `.git`. No program is run, and a commit that cannot be told is left out.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

from helexa import __version__

NOTE: Final = "commit.txt"
"""Beside the package's modules, in wheels."""
SHOWN_CHARS: Final = 12
_READ_CHARS: Final = 1 << 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF: Final = re.compile(r"ref: (refs/[\w./-]+)")
_PROJECT: Final = 'name = "helexa"'


def identity() -> dict[str, str]:
    """Return `version` and, where it is known, `commit`."""
    commit = _own_commit()
    known = {"commit": commit} if commit is not None else {}
    return {"version": __version__, **known}


@cache
def _own_commit() -> str | None:
    return commit_of(Path(__file__).parents[1])


def commit_of(package: Path) -> str | None:
    """Return the commit that the package in this folder was made from, or None."""
    noted = _commit(_text(package / NOTE))
    if noted is not None:
        return noted
    root = package.parent.parent
    # Somebody else's checkout, with a copy of us in it, has commits that are not ours.
    is_ours = package.parent.name == "src" and _PROJECT in _text(root / "pyproject.toml")
    return _checked_out(root / ".git") if is_ours else None


def _checked_out(git: Path) -> str | None:
    if git.is_file():  # a work tree of its own: the file names its folder
        git = git.parent / _text(git).removeprefix("gitdir: ").strip()
    head = _text(git / "HEAD").strip()
    ref = _REF.fullmatch(head)
    if ref is None:
        return _commit(head)
    shared = git / (_text(git / "commondir").strip() or ".")
    packed = re.search(rf"^(\S+) {re.escape(ref[1])}$", _text(shared / "packed-refs"), re.MULTILINE)
    return _commit(_text(shared / ref[1])) or (_commit(packed[1]) if packed else None)


def _commit(text: str) -> str | None:
    return text.strip() if _COMMIT.fullmatch(text.strip()) else None


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_READ_CHARS)
    except OSError:
        return ""
