"""`HELEXA_…` variables as settings. Pure: takes a mapping, reads nothing.

Every setting has two names: `gateway.socket` is HELEXA_GATEWAY_SOCKET, and, with the groups kept
apart, HELEXA_GATEWAY__SOCKET. A list is written with commas or as JSON, a table as `a=b,c=d` or
as JSON. An empty variable counts as not set.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from helexa.config.fields import Kind, Setting, settings_of
from helexa.config.problems import Problem, did_you_mean, show

PREFIX: Final = "HELEXA_"
CONFIG_VARIABLE: Final = "HELEXA_CONFIG"
"""Names the config file where no `--config` is given."""
NOT_SETTINGS: Final = frozenset({CONFIG_VARIABLE, "HELEXA_ADMIN", "HELEXA_ADMIN_KEY_FILE",
                                 "HELEXA_BASE_URL", "HELEXA_MODEL", "HELEXA_API_KEY_FILE",
                                 "HELEXA_DEBUG"})  # fmt: skip
"""Variables that stand for flags of the client commands, and are no settings of a role."""


@dataclass(frozen=True, slots=True)
class EnvironmentLayer:
    """What the environment sets: a tree, the variable behind each setting, and what is wrong."""

    tree: dict[str, Any] = field(default_factory=dict)
    variables: dict[tuple[str, ...], str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def variable_name(setting: Setting) -> str:
    """Return the short name of the variable that sets `setting`."""
    return PREFIX + "_".join(setting.path).upper()


def read_environment(
    environ: Mapping[str, str],
    model: type[BaseModel],
    elsewhere: Sequence[type[BaseModel]] = (),
) -> EnvironmentLayer:
    """Read the variables of one role; those of roles in `elsewhere` are let pass."""
    names = _names_of(model)
    foreign = {name for other in elsewhere for name in _names_of(other)} | NOT_SETTINGS
    layer = EnvironmentLayer()
    problems: list[Problem] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        text = environ[variable]
        setting = names.get(variable)
        if setting is None:
            if variable not in foreign:
                advice = did_you_mean(variable, {*names, *foreign})
                problems.append(Problem(variable, "", f"unknown variable{advice}"))
        elif text.strip():
            taken = layer.variables.get(setting.path)
            if taken is not None:
                problems.append(Problem(variable, setting.name, f"is set by {taken} too; keep one"))
            else:
                _place(layer, problems, setting, variable, text)
    return EnvironmentLayer(layer.tree, layer.variables, tuple(problems))


def _names_of(model: type[BaseModel]) -> dict[str, Setting]:
    names: dict[str, Setting] = {}
    for setting in settings_of(model):
        names[variable_name(setting)] = setting
        names[PREFIX + "__".join(setting.path).upper()] = setting
    return names


def _place(
    layer: EnvironmentLayer, problems: list[Problem], setting: Setting, variable: str, text: str
) -> None:
    try:
        value = _value(setting, text)
    except ValueError as error:
        problems.append(Problem(variable, setting.name, str(error), show(text)))
        return
    tree = layer.tree
    for group in setting.path[:-1]:
        tree = tree.setdefault(group, {})
    tree[setting.path[-1]] = value
    layer.variables[setting.path] = variable


def _value(setting: Setting, text: str) -> Any:
    text = text.strip()
    if setting.kind in {Kind.SCALAR, Kind.PATH}:
        return text
    if text[0] in "[{":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"is not JSON ({error})") from None
    if setting.kind is Kind.TABLES:
        raise ValueError("a list of tables is written as JSON: [{…}]")
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if setting.kind in {Kind.LIST, Kind.PATHS}:
        return parts
    pairs = [part.partition("=") for part in parts]
    if any(not equals for _, equals, _ in pairs):
        raise ValueError("a table is written as name=value,name=value or as JSON")
    return {name.strip(): value.strip() for name, _, value in pairs}
