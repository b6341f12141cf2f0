"""The manual of all settings, made from the models, so that it cannot be wrong. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from helexa.config.cortex import CortexConfig
from helexa.config.environment import variable_name
from helexa.config.fields import Kind, Setting, bare_type, settings_of, type_text
from helexa.config.neuron import NeuronConfig

_INTRODUCTION: Final = """# Settings

This page is written by `make docs`; do not edit it by hand. `helexa config reference` prints it.

Each value comes from the last of these layers that sets it:

1. the default, as below;
2. the spec ([spec.md](spec.md)), a JSON file, for `[[models]]` and the policy in `[provisioning]`;
3. the config file (`--config FILE` or `HELEXA_CONFIG`), in TOML;
4. the environment: each setting has a variable, and `HELEXA_GATEWAY__SOCKET`, with the groups kept
   apart by two underscores, is the same as `HELEXA_GATEWAY_SOCKET`. An empty variable is not set.
   Lists are written with commas, tables as `name=value,name=value`, and both as JSON;
5. flags of the command line.

`helexa config check FILE` tells everything that is wrong with a file at once, with line numbers;
`helexa config show --origin` tells which layer set what; `helexa config schema` prints a JSON
schema for editors. An unknown setting or `HELEXA_…` variable is an error, not a silence.

A socket is `host:port`, `[ipv6]:port`, `:port` for every interface, or `off`. A path counts from
the folder of the file that it stands in. A size is a number of bytes or a text such as `24GiB`.
What can be reached from other machines must be protected (keys, a join token), or the
setting `allow_open` of the same group must say that it is meant so.
"""

_KEYS: Final = """## Files with secrets

`[auth] keys_file` has one key a line; `#` starts a comment:

```
alice: sha256:5f2d0c…64 hex digits      # a name and the SHA-256 of the key
bob: hlx_Zk3…                           # a name and the key itself
hlx_9rQ…                                # a key without a name
```

A key has at least 16 printable characters without spaces. A file that holds keys in the clear must
belong to one user alone (`chmod 600`); a file of hashes may be read by others but not written. The
hash of a key is printed by `printf %s "$KEY" | sha256sum`.

A join token file holds one line of at least 16 characters, made for example by
`(umask 077; openssl rand -hex 32 > join-token)`, and must be private as well.
"""


def manual() -> str:
    """Return the manual as Markdown."""
    parts = [_INTRODUCTION]
    parts += _role("cortex", CortexConfig)
    parts += _role("neuron", NeuronConfig)
    parts.append(_KEYS)
    return "\n".join(parts)


def _role(role: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## `helexa {role}`\n"
    yield from _group(model, ())


def _group(model: type[BaseModel], at: tuple[str, ...]) -> Iterator[str]:
    settings = [s for s in settings_of(model, at) if len(s.path) == len(at) + 1]
    if at:
        yield f"### `[{'.'.join(at)}]`\n"
        yield f"{_sentence(model)}\n"
    plain = [setting for setting in settings if setting.kind is not Kind.TABLES]
    if plain:
        yield _table(plain)
    for setting in settings:
        if setting.entry is not None:
            yield f"### `[[{setting.name}]]`\n"
            yield f"{_sentence(setting.entry)} {setting.text}".rstrip() + "\n"
            yield _table(list(settings_of(setting.entry)), variables=False)
    for name, field in model.model_fields.items():
        bare = bare_type(field.annotation)
        if isinstance(bare, type) and issubclass(bare, BaseModel):
            yield from _group(bare, (*at, name))


def _sentence(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _table(settings: list[Setting], *, variables: bool = True) -> str:
    head = ["setting", "type", "default", "what it is"] + (["variable"] if variables else [])
    rows = [head, ["---"] * len(head)]
    for setting in settings:
        name = setting.path[-1] if variables else setting.name
        row = [f"`{name}`", type_text(setting), _default(setting), setting.text]
        rows.append([*row, f"`{variable_name(setting)}`"] if variables else row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def _default(setting: Setting) -> str:
    if setting.required:
        return "see there" if "Default:" in setting.text else "required"
    value: Any = setting.default
    if value is None:
        return "`off`" if type_text(setting) == "socket" else "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{', '.join(map(str, value))}`" if value else "none"
    if value == {}:
        return "none"
    if setting.path[-1].endswith(("bytes_max", "bytes")):
        return f"`{_size(value)}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _size(count: int) -> str:
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count and count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)
