"""The one reader of config files and of the environment.

    default  <  spec  <  file  <  environment  <  flag

Everything is read and checked before anything is started, and every problem is told at once.
"""

import os
import re
import socket
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast

from pydantic import BaseModel

from helexa.config.cortex import CortexConfig, CortexSpec, ModelEntry
from helexa.config.environment import PREFIX, read_environment
from helexa.config.fields import Kind, Setting, settings_of
from helexa.config.layers import Layer, Merged, Origin, Tree, check, merge
from helexa.config.named_files import file_findings
from helexa.config.neuron import NeuronConfig
from helexa.config.positions import line_map, line_of
from helexa.config.problems import InvalidConfigError, Problem, dotted, in_order, show
from helexa.config.problems import Path as SettingPath
from helexa.config.rules import EngineProblems, Finding, validate_cortex, validate_neuron
from helexa.config.shared import SharedSettings
from helexa.config.spec_file import SpecRead, read_spec, with_spec
from helexa.protocol.ids import neuron_id_problem

FILE_BYTES_MAX: Final = 4 * 2**20
_CORTEX: Final = "cortex"
_NEURON: Final = "neuron"

C = TypeVar("C", bound=SharedSettings)


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting that was given on the command line."""

    value: Any
    flag: str


Flags = Mapping[tuple[str, ...], Flag]


@dataclass(frozen=True, slots=True)
class Loaded(Generic[C]):
    """A checked config, and where each of its values came from."""

    config: C
    merged: Merged
    bare: C
    """The config without its spec, which may be replaced while it runs."""
    spec: CortexSpec | None = None
    """None where no spec is named."""

    def origin(self, path: SettingPath) -> Origin:
        """Return which layer set the value at `path`."""
        return self.merged.origin(path)


def load_cortex(
    file: Path | None,
    flags: Flags,
    engine_problems: EngineProblems,
    environ: Mapping[str, str] | None = None,
) -> Loaded[CortexConfig]:
    """Read the settings of a cortex; raises InvalidConfigError with every problem."""
    reader = _Reader(_CORTEX, os.environ if environ is None else environ)
    merged = reader.read(CortexConfig, NeuronConfig, file, flags)
    return reader.finish(
        CortexConfig, NeuronConfig, merged, lambda config: validate_cortex(config, engine_problems)
    )


def load_neuron(
    file: Path | None, flags: Flags, environ: Mapping[str, str] | None = None
) -> Loaded[NeuronConfig]:
    """Read the settings of a neuron; raises InvalidConfigError with every problem."""
    reader = _Reader(_NEURON, os.environ if environ is None else environ)
    merged = reader.read(NeuronConfig, CortexConfig, file, flags)
    return reader.finish(NeuronConfig, CortexConfig, merged, validate_neuron)


def role_of_file(file: Path) -> str:
    """Tell by its keys whose settings a file holds: "cortex" or "neuron".

    Raises ConfigError where the file cannot be read. A file that fits both is read as cortex's.
    """
    problems: list[Problem] = []
    layer = _read_toml(file, problems)
    if layer is None:
        raise InvalidConfigError(problems, str(file))
    only_cortex = set(CortexConfig.model_fields) - set(NeuronConfig.model_fields)
    only_neuron = set(NeuronConfig.model_fields) - set(CortexConfig.model_fields)
    votes = len(only_neuron & set(layer.tree)) - len(only_cortex & set(layer.tree))
    return _NEURON if votes > 0 else _CORTEX


def state_home(environ: Mapping[str, str] | None = None) -> Path:
    """Return the default state folder: $XDG_STATE_HOME/helexa or ~/.local/state/helexa."""
    given = (os.environ if environ is None else environ).get("XDG_STATE_HOME", "")
    # A relative XDG_STATE_HOME is to be ignored (XDG Base Directory Specification).
    home = Path(given) if given.startswith("/") else Path.home() / ".local" / "state"
    return home / "helexa"


def node_name() -> str:
    """Return this machine's host name in the form of a neuron id."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname()).strip("-._")[:64]
    return name if name and neuron_id_problem(name) is None else "neuron"


def program_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the environment that helper programs such as pip need."""
    return {
        name: value
        for name, value in environ.items()
        if name in _PROGRAMS_NEED or name.startswith("PIP_") or name.lower() in _PROXIES
    }


def process_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for processes of our own: all but settings, which their file has."""
    given = os.environ if environ is None else environ
    return {name: value for name, value in given.items() if not name.startswith(PREFIX)}


_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_PROGRAMS_NEED: Final = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME",
     "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
)  # fmt: skip


class _Reader:
    """Collects problems while the layers of one role are read and checked."""

    def __init__(self, role: str, environ: Mapping[str, str]) -> None:
        self._role = role
        self._environ = environ
        self._problems: list[Problem] = []
        self._subject = role

    def read(
        self, model: type[BaseModel], other: type[BaseModel], file: Path | None, flags: Flags
    ) -> Merged:
        """Read all layers and lay them over each other."""
        layers = [self._defaults()]
        if file is not None:
            self._subject = f"{self._role} ({file})"
            read = _read_toml(file, self._problems)
            layers += [read] if read is not None else []
        environment = read_environment(self._environ, model, [other])
        self._problems += environment.problems
        variables = environment.variables
        layers.append(
            Layer("environment", environment.tree, lambda path: _named(variables, path) or "?")
        )
        layers.append(_flag_layer(flags))
        for layer in layers:
            base = file.parent if file is not None and layer.name == "file" else Path.cwd()
            _resolve_paths(model, layer.tree, base)
        return merge(layers)

    def _defaults(self) -> Layer:
        tree: Tree = {"state_dir": str(state_home(self._environ))}
        if self._role == _NEURON:
            tree["node_id"] = node_name()
            tree["program_environment"] = program_environment(self._environ)
        return Layer("default", tree, lambda _: "default")

    def finish(
        self,
        model: type[C],
        other: type[BaseModel],
        merged: Merged,
        rules: Callable[[C], list[Finding]],
    ) -> Loaded[C]:
        """Check everything; return the config or raise with every problem."""
        spec = _read_spec(merged, self._problems) if model is CortexConfig else None
        bare, problems, left_out = check(merged, model, [other])
        self._problems += problems
        if bare is None:
            raise InvalidConfigError(in_order(self._problems), self._subject)
        config = bare
        if spec is not None and spec.spec is not None and isinstance(bare, CortexConfig):
            config = cast("C", with_spec(bare, spec.spec))
            _mark_spec(merged, spec, bare)
        findings: list[Finding] = [*rules(config), *file_findings(config)]
        for found in findings:
            rests_on = (found.path, *found.also)
            if not any(_concerns(at, path) for at in rests_on for path in left_out):
                where = merged.origin(found.path).where
                field = dotted(found.path)
                self._problems.append(Problem(where, field, found.message, found.value))
        if self._problems:
            raise InvalidConfigError(in_order(self._problems), self._subject)
        return Loaded(config, merged, bare, spec.spec if spec is not None else None)


def _concerns(finding: SettingPath, left_out: SettingPath) -> bool:
    """Tell whether a finding is only about a value that was wrong in itself."""
    return finding[: len(left_out)] == left_out or left_out[: len(finding)] == finding


def _named(variables: Mapping[tuple[str, ...], str], path: SettingPath) -> str | None:
    for length in range(len(path), 0, -1):
        found = variables.get(cast("tuple[str, ...]", path[:length]))
        if found is not None:
            return found
    # A group: named by the first variable in it.
    return next((name for known, name in variables.items() if known[: len(path)] == path), None)


def _flag_layer(flags: Flags) -> Layer:
    tree: Tree = {}
    names = {path: flag.flag for path, flag in flags.items()}
    for path, flag in flags.items():
        at = tree
        for group in path[:-1]:
            at = at.setdefault(group, {})
        at[path[-1]] = flag.value
    return Layer("flag", tree, lambda path: _named(names, path) or "?")


def _read_toml(file: Path, problems: list[Problem]) -> Layer | None:
    text = _read_text(file, problems)
    if text is None:
        return None
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r"\(at line ([0-9]+), column [0-9]+\)", str(error))
        line = at[1] if at else str(max(1, text.count("\n")))
        message = re.sub(r" \(at (line|end).*\)$", "", str(error))
        problems.append(Problem(f"{file}:{line}", "", f"is not TOML: {message}"))
        return None
    lines = line_map(text)

    def where(path: SettingPath) -> str:
        line = line_of(lines, path)
        return f"{file}:{line}" if line is not None else str(file)

    return Layer("file", tree, where)


def _read_text(file: Path, problems: list[Problem]) -> str | None:
    try:
        with file.open("rb") as handle:
            content = handle.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        problems.append(Problem(str(file), "", f"cannot be read: {error.strerror or error}"))
        return None
    if len(content) > FILE_BYTES_MAX:
        problems.append(Problem(str(file), "", f"is larger than {FILE_BYTES_MAX} bytes"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(Problem(f"{file}:{line}", "", f"is not UTF-8 text ({error.reason})"))
        return None


def _resolve_paths(model: type[BaseModel], tree: Tree, base: Path) -> None:
    """Make the paths of one layer absolute: they count from the folder of its file."""
    for setting in settings_of(model):
        parent: Any = tree
        for group in setting.path[:-1]:
            parent = parent.get(group) if isinstance(parent, dict) else None
        if isinstance(parent, dict) and setting.path[-1] in parent:
            last = setting.path[-1]
            parent[last] = _absolute(setting, parent[last], base)


def _absolute(setting: Setting, value: Any, base: Path) -> Any:
    if setting.kind is Kind.TABLES and setting.entry is not None and isinstance(value, list):
        for item in value:
            if isinstance(item, dict):
                _resolve_paths(setting.entry, item, base)
    elif setting.kind is Kind.PATH and isinstance(value, str | Path):
        return str(_path(str(value), base)) if str(value) else value
    elif setting.kind is Kind.PATHS and isinstance(value, list):
        return [_path(item, base) if isinstance(item, str) else item for item in value]
    elif setting.kind is Kind.PATH_MAP and isinstance(value, dict):
        return {
            key: _path(item, base) if isinstance(item, str) else item for key, item in value.items()
        }
    return value


def _path(text: str, base: Path) -> str:
    try:
        path = Path(text).expanduser()
    except RuntimeError:  # `~name` of a user that does not exist: kept, and reported as missing
        path = Path(text)
    return os.path.normpath(base / path)


def _read_spec(merged: Merged, problems: list[Problem]) -> SpecRead | None:
    """Read the spec that the settings name; None where they name none, or it cannot be read."""
    named = merged.tree.get("spec")
    if not isinstance(named, str) or not named:
        return None
    place = merged.origin(("spec",))
    found: list[Problem] = []
    text = _read_text(Path(named), found)
    if text is None:
        problems += [replace(p, where=place.where, field="spec", value=show(named)) for p in found]
        return None
    read = read_spec(text, named)
    problems += read.problems
    return read


def _mark_spec(merged: Merged, read: SpecRead, bare: CortexConfig) -> None:
    """Note where the values came from that the spec adds to a config."""
    assert read.spec is not None
    own = {entry.id: place for place, entry in enumerate(bare.models)}
    added = [entry.id for entry in read.spec.models if entry.id not in own]
    places = own | {name: len(own) + place for place, name in enumerate(added)}
    mine = read.spec.policy.model_fields_set - bare.provisioning.model_fields_set
    for path in read.lines:
        at: SettingPath | None = None
        if path[:1] == ("models",) and len(path) > 1:
            entry = read.spec.models[int(path[1])]
            at = ("models", places[entry.id], *path[2:])
            if entry.id in own and not _is_left_open(bare.models[own[entry.id]], path[2:3]):
                at = None
        elif path[:1] == ("policy",) and path[1:2] and path[1] in mine:
            at = ("provisioning", *path[1:])
        if at is not None:
            merged.origins[at] = Origin("spec", read.where(path))


def _is_left_open(entry: ModelEntry, field: SettingPath) -> bool:
    """Tell whether a config's model says nothing of a field, so that a spec may."""
    return bool(field) and field[0] not in entry.model_fields_set


def read_spec_file(file: Path) -> SpecRead:
    """Read a spec from a file; raises InvalidConfigError where the file itself cannot be read."""
    problems: list[Problem] = []
    text = _read_text(file, problems)
    if text is None:
        raise InvalidConfigError(problems, str(file))
    return replace(read_spec(text, str(file)), text=text)
