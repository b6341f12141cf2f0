"""What `helexa up` will run: the settings of both roles, and the files that hold them."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from helexa.cli.engines import engine_problems
from helexa.cli.private_files import make_private, write_private
from helexa.cli.up_ports import reachable, require_free, with_port
from helexa.config.cortex import CortexConfig, ModelEntry
from helexa.config.keys import digest_of, read_token_file
from helexa.config.layers import Tree
from helexa.config.load import Flag, load_cortex, load_neuron
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import InvalidConfigError, Problem, dotted
from helexa.config.rules import conflict_between
from helexa.config.toml_text import to_toml
from helexa.util.errors import UsageError

DEFAULT_MODEL: Final = "smollm2-135m"
OWN_KEY_S: Final = 86_400.0
Flags = Mapping[tuple[str, ...], Flag]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line of `up` asked for. `models` are `NAME` or `NAME=SOURCE`."""

    config_file: Path | None = None
    neuron_config_file: Path | None = None
    models: Sequence[str] = ()
    engine: str | None = None
    cortex_flags: Flags | None = None
    neuron_flags: Flags | None = None


@dataclass(frozen=True, slots=True)
class UpPlan:
    """Everything that `up` needs to know. `api_key` opens the gateway where it asks for keys."""

    cortex: CortexConfig
    neuron: NeuronConfig
    token_file: Path
    bare: CortexConfig
    """The cortex's settings as they were read, without the spec that they name."""
    api_key: str | None = None

    @property
    def gateway_url(self) -> str:
        """How this machine reaches the gateway."""
        assert self.cortex.gateway.socket is not None
        scheme = "https" if self.cortex.gateway.tls_certificate_file is not None else "http"
        return f"{scheme}://{reachable(self.cortex.gateway.socket)}"

    @property
    def folder(self) -> Path:
        """Where `up` keeps its own files."""
        return up_folder(self.cortex.state_dir)

    @property
    def model_ids(self) -> list[str]:
        """The models to serve."""
        return [model.id for model in self.cortex.models]

    def require_free_ports(self) -> None:
        """Raise LimitError when something listens already where we are to listen."""
        cortex = self.cortex
        require_free(
            {
                "--gateway-socket": cortex.gateway.socket,
                "--control-plane-socket": cortex.control_plane.socket,
                "--orchestrator-socket": cortex.admin.socket,
                "--portal-socket": cortex.portal.socket,
                "--api-socket": self.neuron.api.socket,
            }
        )


def up_folder(state_dir: Path) -> Path:
    """Return the folder in which `up` keeps its own files."""
    return state_dir / "up"


def make_plan(wish: Wish) -> UpPlan:
    """Read the settings of both roles; raises InvalidConfigError, UsageError or ConfigError.

    Makes the state folder and the join token where they are not there yet.
    """
    flags = dict(wish.cortex_flags or {})
    if wish.models or wish.engine:
        flags["models",] = Flag(_entries(wish.models, wish.engine), "--model")
    # The token that protects the control plane is made below, so it need not be there yet.
    flags["control_plane", "allow_open"] = Flag(value=True, flag="helexa up")
    loaded = load_cortex(wish.config_file, flags, engine_problems)
    cortex = loaded.config
    _require_possible(cortex)
    make_private(cortex.state_dir)
    token_file = cortex.control_plane.join_token_file or _made_token(cortex.state_dir)
    plane = cortex.control_plane.model_copy(
        update={"join_token_file": token_file, "allow_open": False}
    )
    models = cortex.models or (ModelEntry(id=DEFAULT_MODEL),)
    cortex = _with_ports(cortex.model_copy(update={"control_plane": plane, "models": models}))
    neuron = _neuron(wish, cortex, token_file)
    conflicts = conflict_between(cortex, neuron)
    if conflicts:
        told = [Problem("", dotted(f.path), f.message, f.value) for f in conflicts]
        raise InvalidConfigError(told, "cortex and neuron on one machine")
    return _with_key(UpPlan(cortex, neuron, token_file, loaded.bare))


def _entries(models: Sequence[str], engine: str | None) -> list[dict[str, Any]]:
    names = models or ["echo" if engine == "echo" else DEFAULT_MODEL]
    entries = []
    for name in names:
        model_id, _, source = name.partition("=")
        entry = {"id": model_id, "engine": engine or "llamacpp"}
        entries.append({**entry, "source": source} if source else entry)
    return entries


def _require_possible(cortex: CortexConfig) -> None:
    alone = "run `helexa cortex` and `helexa neuron` by themselves instead"
    for name, group in (("gateway", cortex.gateway), ("control_plane", cortex.control_plane)):
        if group.socket is None:
            raise UsageError(
                f"`helexa up` needs {name}.socket, and it is off", error_id="HX-0601", hint=alone
            )
    if cortex.control_plane.tls_certificate_file is not None:
        raise UsageError(
            "`helexa up` joins its neuron without TLS, and control_plane has a certificate",
            error_id="HX-0601", hint=alone,
        )  # fmt: skip


def _made_token(state_dir: Path) -> Path:
    path = state_dir / "join-token"
    if not path.exists():
        write_private(path, secrets.token_hex(32) + "\n")
    read_token_file(path)
    return path


def _with_ports(cortex: CortexConfig) -> CortexConfig:
    """Put a free port where a socket says 0, since others must be told which it is."""
    changed = {}
    for name in ("gateway", "control_plane", "admin", "portal"):
        group = getattr(cortex, name)
        if group.socket is not None:
            changed[name] = group.model_copy(update={"socket": with_port(group.socket)})
    return cortex.model_copy(update=changed)


def _neuron(wish: Wish, cortex: CortexConfig, token_file: Path) -> NeuronConfig:
    assert cortex.control_plane.socket is not None
    address = reachable(cortex.control_plane.socket)
    flags = {
        **(wish.neuron_flags or {}),
        ("state_dir",): Flag(str(cortex.state_dir), "--state-dir"),
        ("join_token_file",): Flag(str(token_file), "--join-token-file"),
        ("cortex_control_endpoint",): Flag(f"ws://{address}", "--control-plane-socket"),
        # It is this very machine, by whatever address.
        ("allow_cleartext",): Flag(value=True, flag="--control-plane-socket"),
    }
    neuron = load_neuron(wish.neuron_config_file, flags).config
    # Who asks for an engine here is who owns this machine, and so allows it.
    wanted = {model.engine for model in cortex.models} - set(neuron.engines.allowed)
    allowed = (*neuron.engines.allowed, *sorted(wanted))
    engines = neuron.engines.model_copy(update={"allowed": allowed})
    neuron = neuron.model_copy(update={"engines": engines})
    if neuron.api.socket is not None:
        api = neuron.api.model_copy(update={"socket": with_port(neuron.api.socket)})
        neuron = neuron.model_copy(update={"api": api})
    return neuron


def _with_key(plan: UpPlan) -> UpPlan:
    """Where the gateway asks for keys, add one of our own, for the first token's request."""
    keys_file = plan.cortex.auth.keys_file
    if plan.cortex.auth.chosen == "store":
        return replace(plan, api_key=_key_of_the_store(plan.cortex))
    if keys_file is None:
        return plan
    key = "hlx_" + secrets.token_urlsafe(32)
    make_private(plan.folder)
    own_file = plan.folder / "keys"
    line = f"helexa-up: sha256:{digest_of(key.encode()).hex()}\n"
    write_private(own_file, keys_file.read_text(encoding="utf-8-sig").rstrip("\n") + "\n" + line)
    auth = plan.cortex.auth.model_copy(update={"keys_file": own_file})
    cortex = plan.cortex.model_copy(update={"auth": auth})
    return replace(plan, cortex=cortex, api_key=key)


def _key_of_the_store(cortex: CortexConfig) -> str:
    from helexa.cli.people import OfflinePeople, opened_location, path_of

    body = {"name": "helexa up", "live_s": OWN_KEY_S, "cause": "for the first token's request"}
    with opened_location(cortex) as store:
        return str(OfflinePeople(store).post(path_of("keys"), body)["key"])


def write_settings(plan: UpPlan) -> tuple[Path, Path]:
    """Write the settings of cortex and neuron where their processes read them."""
    make_private(plan.folder)
    files = []
    for name, config in (("cortex", plan.cortex), ("neuron", plan.neuron)):
        path = plan.folder / f"{name}.toml"
        tree = config.model_dump(mode="json", by_alias=True)
        if config is plan.cortex:
            tree |= _without_spec(plan)
        write_private(path, to_toml(tree))
        files.append(path)
    return files[0], files[1]


def _without_spec(plan: UpPlan) -> Tree:
    """Return the settings that a spec may add to, without what one adds, or what nobody set.

    The process reads the spec itself: TOML cannot say all that it says, and it can be replaced.
    """
    of_spec = {m.id for m in plan.cortex.models} if plan.bare.spec is not None else set()
    of_spec -= {m.id for m in plan.bare.models}
    models = [
        m.model_dump(mode="json", by_alias=True, exclude_unset=True) for m in plan.cortex.models
    ]
    provisioning = plan.bare.provisioning.model_dump(mode="json", exclude_unset=True)
    return {"models": [m for m in models if m["id"] not in of_spec], "provisioning": provisioning}
