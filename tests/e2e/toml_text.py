"""Settings as TOML, so that the tests start the roles from files as users do."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write nested settings: scalars first, then a section per group, `[[…]]` per listed group."""
    plain = [f"{name} = {_value(value)}" for name, value in settings.items() if not _group(value)]
    sections = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            sections += [
                "",
                f"[{name}]",
                *(f"{key} = {_value(item)}" for key, item in value.items()),
            ]
        elif _group(value):
            for entry in value:
                lines = [f"{key} = {_value(item)}" for key, item in entry.items()]
                sections += ["", f"[[{name}]]", *lines]
    return "\n".join([*plain, *sections]) + "\n"


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the settings of `more` over it, group by group."""
    result = dict(base)
    for name, value in more.items():
        old = result.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[name] = merged(old, value) if both else value
    return result


def _group(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and bool(value)
    return isinstance(value, Mapping) or (listed and isinstance(value[0], Mapping))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return json.dumps(value)
