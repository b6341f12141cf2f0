"""The manual of all engines and their options, made from their descriptions. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from helexa.model_runtime.interfaces import EngineDescription, OptionSpec

_INTRODUCTION: Final = """# Engines

This page is written by `make docs`; do not edit it by hand.

A model names its engine and may set that engine's options:

```toml
[[models]]
id = "smollm2-135m"
engine = "llamacpp"
options = { context_tokens = 4096, parallel = 4 }
```

`helexa config check FILE` tells every option that an engine does not know or take. A neuron runs
only the engines that `[engines] allowed` of its own config names.

A server that asks for a key gets it from a file on the neuron: put the file into the neuron's
`secrets` folder (`[attach] secrets_dir`) and name it in the option `api_key_file`. A cortex never
sees the key.
"""


def engine_manual(engines: Mapping[str, EngineDescription]) -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION]
    for name in sorted(engines):
        engine = engines[name]
        how = (
            "The neuron starts it, on a loopback port with a key of its own."
            if engine.spawns
            else "The neuron attaches to a server that runs already, by `listen_endpoint`."
        )
        rows = "\n".join(_rows(engine.options))
        parts.append(
            f"## {name}\n\n{how}\n\n"
            f"| option | type | default | what |\n| --- | --- | --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)


def _rows(options: tuple[OptionSpec, ...]) -> Iterator[str]:
    for option in options:
        default = "none" if option.default is None else f"`{_told(option.default)}`"
        yield f"| `{option.name}` | {_type(option)} | {default} | {option.text} |"


def _type(option: OptionSpec) -> str:
    if option.choices:
        return ", ".join(f"`{choice}`" for choice in option.choices)
    if option.pattern:
        return "text"
    low, high = option.minimum, option.maximum
    if low is not None and high is not None:
        return f"{option.kind}, {low:,.10g} to {high:,.10g}"
    return option.kind


def _told(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
