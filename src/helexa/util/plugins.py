"""Plug-ins: objects that other installed packages offer under a name, by entry points."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from helexa.util.errors import ConfigError, describe

NAMES_SHOWN_MAX: Final = 20


def load(group: str, name: str, built_in: Mapping[str, Any], setting: str) -> Any:
    """Return what is called `name`: a built-in first, else the plug-in of that entry point group.

    Raises ConfigError, naming `setting`, where there is none or it cannot be imported.
    """
    if name in built_in:
        return built_in[name]
    offered: dict[str, EntryPoint] = {each.name: each for each in entry_points(group=group)}
    if name not in offered:
        known = ", ".join(sorted({*built_in, *offered})[:NAMES_SHOWN_MAX])
        raise ConfigError(
            f"{setting}: nothing installed is called {name!r}; there are: {known}",
            error_id="HX-0581",
            hint=f"install the package that offers it (entry point group {group}), or name another",
        )
    try:
        return offered[name].load()
    except Exception as error:
        raise ConfigError(
            f"{setting}: the plug-in {name!r} ({offered[name].value}) cannot be loaded: "
            f"{describe(error)}",
            error_id="HX-0582",
            hint="update or remove its package, or name another",
        ) from error
