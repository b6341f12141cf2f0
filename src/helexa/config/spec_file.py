"""The spec: a JSON file with the models and how provisioning goes. Pure.

read_spec(text, name) ─► SpecRead: the spec, or every problem with its JSON path and line
with_spec(config, spec) ─► the config with the spec below it
"""

import json
import re
from dataclasses import dataclass, field
from typing import Final

from helexa.config.cortex import CortexConfig, CortexSpec, ModelEntry
from helexa.config.json_positions import DEPTH_MAX, JsonLines
from helexa.config.layers import Layer, check, merge
from helexa.config.positions import line_of
from helexa.config.problems import Path, Problem, dotted, in_order, show
from helexa.config.rules import EngineProblems, Finding, model_findings

SCHEMA_KEY: Final = "$schema"
"""Editors look for the schema there; it is no setting."""
_ESCAPED_BACKSLASH: Final = re.compile(r"\\\\")
_HALF_CHARACTER: Final = re.compile(
    r"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F].."
)
"""One of the two escapes that JSON writes a character beyond the first 65,536 with, alone: Python
reads it, and then no encoder takes it."""


@dataclass(frozen=True, slots=True)
class SpecRead:
    """What a text says; `spec` is None where it says nothing that can be used."""

    name: str
    spec: CortexSpec | None
    problems: tuple[Problem, ...] = ()
    lines: dict[Path, int] = field(default_factory=dict)
    text: str = ""
    """The text itself, where it was read from a file: one that is a pipe is read only once."""

    def where(self, path: Path) -> str:
        """Return the place of a value: `spec.json:12`."""
        line = line_of(self.lines, path)
        return f"{self.name}:{line}" if line is not None else self.name

    def problem(self, found: Finding) -> Problem:
        """Return a broken rule with its place."""
        return Problem(self.where(found.path), dotted(found.path), found.message, found.value)


def read_spec(text: str, name: str) -> SpecRead:
    """Read a spec; `name` is what places are told by. Files and engines are not looked at."""
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg} (column {error.colno})"
        return SpecRead(name, None, (Problem(f"{name}:{error.lineno}", "", message),))
    except (ValueError, RecursionError) as error:
        return SpecRead(name, None, (Problem(name, "", f"is not JSON: {error}"),))
    if not isinstance(tree, dict):
        return SpecRead(name, None, (Problem(f"{name}:1", "", "must be a JSON object"),))
    tree.pop(SCHEMA_KEY, None)
    positions = JsonLines(text)
    read = SpecRead(name, None, lines=positions.lines)
    unusable = _unusable(read, text, positions)
    if unusable is not None:
        return SpecRead(name, None, (unusable,), positions.lines)
    spec, problems, _ = check(merge([Layer("spec", tree, read.where)]), CortexSpec)
    for path in positions.repeated:
        first = show(path[-1])
        problems.append(Problem(read.where(path), dotted(path), f"{first} is there twice"))
    return SpecRead(name, None if problems else spec, tuple(in_order(problems)), positions.lines)


def _unusable(read: SpecRead, text: str, positions: JsonLines) -> Problem | None:
    """Say what makes a JSON text none that any value is looked at in."""
    deep = positions.too_deep
    if deep is not None:
        message = f"has values nested more than {DEPTH_MAX} levels deep"
        return Problem(read.where(deep), dotted(deep[:1]), message)
    half = _HALF_CHARACTER.search(_ESCAPED_BACKSLASH.sub("  ", text))
    if half is None:
        return None
    line = text.count("\n", 0, half.start()) + 1
    message = f"{half.group()} stands for no character by itself, only with its other half"
    return Problem(f"{read.name}:{line}", "", message)


def spec_problems(read: SpecRead, engine_problems: EngineProblems) -> list[Problem]:
    """Return all that is wrong with a spec by itself, without the config that it goes below."""
    if read.spec is None:
        return list(read.problems)
    return [read.problem(found) for found in model_findings(read.spec.models, engine_problems)]


def with_spec(config: CortexConfig, spec: CortexSpec) -> CortexConfig:
    """Return a config with a spec below it: what the config sets itself, it keeps.

    What the config does not say of a model that both name, the spec may. The spec's own models
    follow those of the config.
    """
    below = {entry.id: entry for entry in spec.models}
    known = {entry.id for entry in config.models}
    models = tuple(_filled(entry, below.get(entry.id)) for entry in config.models)
    models += tuple(entry for entry in spec.models if entry.id not in known)
    given = spec.policy.model_fields_set - config.provisioning.model_fields_set
    policy = {name: getattr(spec.policy, name) for name in given}
    provisioning = config.provisioning.model_copy(update=policy)
    return config.model_copy(update={"models": models, "provisioning": provisioning})


def _filled(entry: ModelEntry, below: ModelEntry | None) -> ModelEntry:
    if below is None:
        return entry
    given = below.model_fields_set - entry.model_fields_set
    return entry.model_copy(update={name: getattr(below, name) for name in given})
