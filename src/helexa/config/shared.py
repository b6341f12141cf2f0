"""Settings that both roles have: logging, metrics, mesh; and the types that settings are made of.

Every field is spelled once, with a type, a default, a unit in its name and a sentence. The manual
(docs/configuration.md) and the JSON schema are made from these very models.
"""

import re
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

_UNITS: Final = {"": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
                 "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}  # fmt: skip


class Settings(BaseModel):
    """A group of settings: frozen, and nothing in it that is not known."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )  # fmt: skip


def _to_bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", value)
    unit = match[2].lower() if match else "?"
    factor = _UNITS.get(unit) or _UNITS.get(unit + "b")
    if match is None or factor is None:
        raise ValueError(f"{value!r} is not a size; write bytes, or a text such as 24GiB or 512MiB")
    return int(float(match[1]) * factor)


ByteCount = Annotated[int, BeforeValidator(_to_bytes), Field(ge=0)]
"""A size in bytes; a text such as `24GiB` is read too."""


def _not_empty(value: object) -> object:
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise ValueError("must be a path")
    return value


FilePath = Annotated[Path, BeforeValidator(_not_empty), PlainSerializer(str)]
"""A path. One in a config file counts from that file's folder; `~` is the home folder."""

PositiveSeconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


class LogSettings(Settings):
    """What is logged, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not written."""
    style: Literal["console", "json"] = "console"
    """`json` writes one object a line, for log collectors."""


class MetricsSettings(Settings):
    """Numbers for Prometheus."""

    enabled: bool = True
    """Serve `GET /metrics` (cortex: on the gateway and the admin socket; neuron: on its API)."""


class MeshSettings(Settings):
    """Who this node belongs to, among nodes of several operators."""

    operator: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "local"
    """The name of the operator of this node, told to the other side and shown in status."""


class SharedSettings(Settings):
    """The part of a config that is the same for both roles."""

    state_dir: FilePath
    """Private folder for what outlives a restart. Default: $XDG_STATE_HOME/helexa, or
    ~/.local/state/helexa."""
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    mesh: MeshSettings = MeshSettings()
