"""Writes the commit that a distribution is made from into it, for `helexa version` to tell."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitNote(BuildHookInterface[Any]):
    """Adds a file with the commit to wheels and source distributions, where it is known."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file and have it taken along; an editable install reads its checkout."""
        source = Path(self.root) / "src"
        sys.path.insert(0, str(source))
        from helexa.util.build import NOTE, commit_of  # noqa: PLC0415  # found by the line above

        commit = commit_of(source / "helexa")
        if commit is None or version == "editable" or (source / "helexa" / NOTE).exists():
            return
        self._folder = TemporaryDirectory()
        note = Path(self._folder.name) / NOTE
        note.write_text(f"{commit}\n")
        place = "helexa" if self.target_name == "wheel" else "src/helexa"
        build_data["force_include"][str(note)] = f"{place}/{NOTE}"
