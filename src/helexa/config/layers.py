"""Laying settings over each other: defaults < spec < file < environment < flags. Pure.

Each value keeps its origin, so that a problem can name its place and `helexa config show
--origin` can tell which layer set what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from helexa.config.fields import fields_of, group_at, holds_many, settings_of
from helexa.config.problems import Path, Problem, did_you_mean, dotted, show

M = TypeVar("M", bound=BaseModel)
Tree = dict[str, Any]
REPAIRS_MAX: Final = 20
ADVISED_MAX: Final = 100
"""Unknown settings whose names are compared with all known ones: 0.3 ms each, and a spec of 1 MiB
has room for a hundred thousand."""
# Values that let the rest be checked when a setting without a default is missing or wrong.
_STAND_INS: Final[Mapping[str, Any]] = {"state_dir": "/nowhere", "node_id": "unnamed"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which layer set a value, and where exactly."""

    layer: str
    where: str


@dataclass(frozen=True, slots=True)
class Layer:
    """Settings from one source. `where` tells the place of a path in it."""

    name: str
    tree: Tree
    where: Callable[[Path], str]


@dataclass(slots=True)
class Merged:
    """Layers laid over each other: the values, and the origin of each."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Path, Origin] = field(default_factory=dict)

    def origin(self, path: Path) -> Origin:
        """Return the origin of the value at `path`, or of the nearest one around it."""
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path[:-1]
        return Origin("default", "default")


def merge(layers: Sequence[Layer]) -> Merged:
    """Lay `layers` over each other, weakest first. Tables merge; every other value replaces."""
    merged = Merged()
    for layer in layers:
        _lay(merged, merged.tree, layer, layer.tree, ())
    return merged


def _lay(merged: Merged, below: Tree, layer: Layer, above: Tree, at: Path) -> None:
    for key, value in above.items():
        path = (*at, key)
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            _lay(merged, below[key], layer, value, path)
            continue
        if key in below:
            for known in [p for p in merged.origins if p[: len(path)] == path]:
                del merged.origins[known]
        below[key] = _copy(value)
        _mark(merged, layer, path, value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    return value


def _mark(merged: Merged, layer: Layer, path: Path, value: Any) -> None:
    merged.origins[path] = Origin(layer.name, layer.where(path))
    if isinstance(value, dict):
        for key, item in value.items():
            _mark(merged, layer, (*path, key), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _mark(merged, layer, (*path, index), item)


def check(
    merged: Merged, model: type[M], elsewhere: Sequence[type[BaseModel]] = ()
) -> tuple[M | None, list[Problem], set[Path]]:
    """Read `merged` into `model`.

    Returns the config, every problem, and the paths that had to be left out to go on: where there
    are problems, the config has defaults in their place, so that the rules which look at several
    settings can still be checked. `elsewhere` are models of other roles, for better advice.
    None instead of a config only where not even that worked.
    """
    problems: dict[Path, Problem] = {}
    advise: _Advisor | None = _Advisor(model, elsewhere)
    tree = _copy(merged.tree)
    for _ in range(REPAIRS_MAX):
        try:
            config = model.model_validate(tree)
        except ValidationError as error:
            # Members of a union tell one mistake several times; the first telling is enough.
            details = {
                _path_in(model, detail["loc"]): dict(detail)
                for detail in reversed(error.errors(include_url=False))
            }
            for path, detail in reversed(details.items()):
                # What is wrong inside a stand-in was wrong as a whole, and has been told.
                if not any(path[:length] in problems for length in range(1, len(path) + 1)):
                    value = _value_at(tree, path)
                    advise = advise if len(problems) < ADVISED_MAX else None
                    problems[path] = _tell(merged, path, detail, value, advise)
                _repair(tree, path, unknown=detail["type"] == "extra_forbidden")
        else:
            return config, list(problems.values()), set(problems)
    return None, list(problems.values()), set(problems)


def _path_in(model: type[BaseModel], location: tuple[str | int, ...]) -> Path:
    """Return the part of pydantic's location that names settings.

    A location may go on with names of union members behind the value itself.
    """
    current: type[BaseModel] | None = model
    for length, part in enumerate(location, start=1):
        if isinstance(part, int):
            continue
        if current is None or part not in fields_of(current):
            return location[:length]
        current = group_at(current, (part,))
        if current is None:
            # A setting: an index or a key may name an element in it, nothing more.
            return (
                location[: length + 1]
                if holds_many(model, location[:length])
                else location[:length]
            )
    return location


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        tree = tree[part]
    return tree


def _value_at(tree: Tree, path: Path) -> Any:
    try:
        return _at(tree, path)
    except (KeyError, IndexError, TypeError):
        return None


def _repair(tree: Tree, path: Path, *, unknown: bool) -> None:
    parent = _at(tree, path[:-1])
    last = path[-1]
    if isinstance(parent, list):
        parent[int(last)] = _stand_in_for(path)
    elif unknown or (last in parent and last not in _STAND_INS and last != "id"):
        del parent[last]
    else:
        parent[str(last)] = _stand_in_for(path)


def _stand_in_for(path: Path) -> Any:
    last = path[-1]
    if isinstance(last, int):
        if path == ("models", last):
            return {}
        return "http://127.0.0.1" if path[0] == "attach" else "left-out"
    if last == "id":
        return "left-out-" + "-".join(str(part) for part in path)
    return _STAND_INS.get(last)


@dataclass(frozen=True, slots=True)
class _Advisor:
    """Knows which settings there are, here and in other roles."""

    model: type[BaseModel]
    elsewhere: Sequence[type[BaseModel]]

    def unknown(self, path: Path) -> str:
        """Say what an unknown setting at `path` may have been meant to be."""
        names = tuple(part for part in path if isinstance(part, str))
        for other in self.elsewhere:
            group = group_at(other, names[:-1])
            if group is not None and names[-1] in fields_of(group):
                role = other.__name__.removesuffix("Config").lower()
                return f"is a setting of {role}, not of this role"
        group = group_at(self.model, path[:-1])
        siblings = list(fields_of(group)) if group is not None else []
        flat = {setting.name.replace(".", "_"): setting.name for setting in settings_of(self.model)}
        spelled = "_".join(names)
        if spelled in flat:
            return f"unknown setting; did you mean {flat[spelled]}?"
        advice = did_you_mean(str(path[-1]), siblings)
        if not advice:
            close = did_you_mean(spelled, flat).removeprefix("; did you mean ").removesuffix("?")
            advice = f"; did you mean {flat[close]}?" if close else ""
        if not advice and siblings:
            advice = f"; known here: {', '.join(siblings)}"
        return f"unknown setting{advice}"


def _tell(
    merged: Merged, path: Path, detail: dict[str, Any], value: Any, advise: _Advisor | None
) -> Problem:
    kind = detail["type"]
    where = merged.origin(path).where
    if kind == "extra_forbidden":
        message = advise.unknown(path) if advise is not None else "unknown setting"
        return Problem(where, dotted(path), message)
    if kind == "missing":
        return Problem(where, dotted(path), "is required and is not set")
    if kind == "value_error":
        message = str(detail["ctx"]["error"])
    elif kind in {"model_type", "dict_type", "model_attributes_type"}:
        message = "must be a table"
    elif len(detail["loc"]) > len(path):
        message = "must be a text, a number, true or false"
    else:
        message = detail["msg"].replace("Input should be", "must be", 1)
    return Problem(where, dotted(path), message, show(value))
