"""What is wrong with settings, told all at once. Pure.

A problem names the place (file and line, variable or flag), the dotted field, the bad value, and
what is allowed, so that it can be mended without a look into the manual.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from helexa.util.errors import ConfigError

VALUE_CHARS_MAX: Final = 80
COMPARED_MAX: Final = 1000

Path = tuple[str | int, ...]
"""Where a value stands in a tree of settings: ("models", 0, "id")."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    where: str
    """`cortex.toml:12`, `HELEXA_GATEWAY_SOCKET`, `--gateway-socket` or `default`."""
    field: str
    """Dotted name of the setting; empty where the file as a whole is meant."""
    message: str
    value: str = ""

    def __str__(self) -> str:
        subject = f"{self.field} = {self.value}" if self.field and self.value else self.field
        return ": ".join(part for part in (self.where, subject, self.message) if part)


class InvalidConfigError(ConfigError):
    """Settings are wrong; `problems` holds everything that was found, in file order."""

    def __init__(self, problems: Sequence[Problem], subject: str) -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(
            f"{count} in the settings of {subject}{lines}",
            error_id="HX-0101",
            hint="`helexa config schema` and docs/configuration.md tell every setting",
        )


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort by place, lines as numbers; keep one of those that say the same."""

    def key(problem: Problem) -> tuple[str, int]:
        name, _, line = problem.where.rpartition(":")
        return (name, int(line)) if line.isdecimal() else (problem.where, 0)

    return sorted(dict.fromkeys(problems), key=key)


def dotted(path: Path) -> str:
    """Return a path as people write it: `models[0].id`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def show(value: object) -> str:
    """Return a value as it could stand in a file, cut to a readable length."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[: VALUE_CHARS_MAX - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` when something known is close to `word`, else an empty text.

    Among more than `COMPARED_MAX` names nothing is looked for: each costs ten microseconds.
    """
    candidates = sorted(set(known))
    if len(candidates) > COMPARED_MAX:
        return ""
    lowered = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]}?" if close else ""
