"""The settings of a role, one by one, read off its model. Pure.

Variables, flags, suggestions and the manual are all made from this list, so that a setting is
spelled once.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path as FilesystemPath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from helexa.config.problems import Path
from helexa.config.sockets import Socket, Url


class Kind(StrEnum):
    """What shape a setting has."""

    SCALAR = "scalar"
    PATH = "path"
    LIST = "list"
    PATHS = "list of paths"
    MAP = "map"
    PATH_MAP = "map of paths"
    TABLES = "list of tables"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, shape and what the manual says about it."""

    path: tuple[str, ...]
    kind: Kind
    field: FieldInfo
    entry: type[BaseModel] | None = None
    """The model of each table, where it is a list of tables."""

    @property
    def name(self) -> str:
        """Dotted name."""
        return ".".join(self.path)

    @property
    def text(self) -> str:
        """The sentence about it, on one line."""
        return " ".join((self.field.description or "").split())

    @property
    def required(self) -> bool:
        """It has no default in the model."""
        return self.field.is_required()

    @property
    def default(self) -> Any:
        """The model's own default; None where it has none."""
        value = self.field.get_default(call_default_factory=True)
        return None if value is PydanticUndefined else value


def settings_of(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[Setting]:
    """Yield every setting of a model, groups opened, in the order of the models."""
    for name, field in fields_of(model).items():
        bare = bare_type(field.annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            yield from settings_of(bare, (*prefix, name))
        else:
            kind, entry = _kind(bare)
            yield Setting((*prefix, name), kind, field, entry)


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by the names that files use: `with` is no name in Python."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def bare_type(annotation: Any) -> Any:
    """Return a type without its annotations and without `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return bare_type(get_args(annotation)[0])
    if origin in {Union, types.UnionType}:
        members = [item for item in get_args(annotation) if item is not type(None)]
        if len(members) == 1:
            return bare_type(members[0])
    return annotation


def _kind(bare: Any) -> tuple[Kind, type[BaseModel] | None]:
    origin = get_origin(bare)
    if origin is tuple:
        item = bare_type(get_args(bare)[0])
        if isinstance(item, type) and issubclass(item, BaseModel):
            return Kind.TABLES, item
        return (Kind.PATHS if item is FilesystemPath else Kind.LIST), None
    if origin is dict:
        item = bare_type(get_args(bare)[1])
        return (Kind.PATH_MAP if item is FilesystemPath else Kind.MAP), None
    return (Kind.PATH if bare is FilesystemPath else Kind.SCALAR), None


def type_text(setting: Setting) -> str:
    """Return the type of a setting in words for the manual."""
    if setting.kind is not Kind.SCALAR:
        return {Kind.LIST: "list of texts", Kind.MAP: "table"}.get(setting.kind, str(setting.kind))
    bare = bare_type(setting.field.annotation)
    if get_origin(bare) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(bare))
    names = {bool: "true or false", int: "whole number", float: "number", str: "text",
             Socket: "socket", Url: "URL"}  # fmt: skip
    return names.get(bare, "text")


def group_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """Return the model of the group that `path` names; None where it names no group."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is None:
            return None
        if isinstance(part, int):
            continue
        field = fields_of(current).get(part)
        if field is None:
            return None
        bare = bare_type(field.annotation)
        if get_origin(bare) is tuple:
            bare = bare_type(get_args(bare)[0])
        current = bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None
    return current


def holds_many(model: type[BaseModel], path: Path) -> bool:
    """Tell whether the setting at `path` is a list or a table of values."""
    group = group_at(model, path[:-1])
    fields = fields_of(group) if group is not None else {}
    if path[-1] not in fields:
        return False
    return get_origin(bare_type(fields[str(path[-1])].annotation)) in {tuple, dict}
