"""The environment that an engine starts with: from empty, by allow-list (rule R4).

An environment variable can be remote code execution (`LLAMA_ARG_TOOLS`, `LD_PRELOAD`,
`GGML_BACKEND_PATH`), so what an engine's description asks for is looked at once more here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from helexa.util.errors import ConfigError

RULE: Final = "R4"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FORBIDDEN: Final = ("LD_", "DYLD_", "LLAMA_", "GGML_", "PYTHON", "BASH_", "GCONV_")
_FORBIDDEN_NAMES: Final = frozenset({"PATH", "HOME", "IFS", "ENV", "SHELLOPTS", "HELEXA_ENGINE"})


def engine_environment(home: Path, asked: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return the whole environment of an engine; raises ConfigError for a forbidden name.

    `home` is a private folder; `asked` is what the engine's description wants on top.
    """
    for name, value in asked.items():
        if not _may_be_set(name) or "\0" in value:
            raise ConfigError(
                f"environment variable {name!r} may not be set for an engine (rule {RULE})",
                error_id="HX-2302",
                hint="use one of the engine's typed options instead",
            )
    fixed = {"PATH": PATH, "HOME": str(home), "LANG": "C.UTF-8", "HELEXA_ENGINE": mark}
    return {**asked, **fixed}


def _may_be_set(name: str) -> bool:
    plain = name.replace("_", "A").isalnum() and name.isascii() and not name[:1].isdigit()
    upper = name.upper()
    return plain and upper not in _FORBIDDEN_NAMES and not upper.startswith(_FORBIDDEN)
