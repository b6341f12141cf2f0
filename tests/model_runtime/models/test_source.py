import pytest

from helexa.model_runtime.models.source import (
    CatalogueSource,
    HubSource,
    PackageSource,
    PathSource,
    describe,
    parse,
    stored_path,
)
from helexa.util.errors import SourceError


@pytest.mark.parametrize(
    "text", ["a.gguf", "sub/a.gguf", "/srv/models/a.gguf", "./folder", "a b.gguf"]
)
def test_a_path_is_a_path(text: str) -> None:
    assert parse(text) == PathSource(text)


def test_a_catalogue_name_is_found_in_any_case() -> None:
    source = parse("SmolLM2-135M")
    assert isinstance(source, CatalogueSource)
    assert describe(source) == "smollm2-135m"
    assert stored_path(source) == ("smollm2-135m.gguf",)


def test_a_hub_file_may_name_a_revision_and_folders() -> None:
    assert parse("hf:org/repo/a.gguf") == HubSource("org/repo", "a.gguf")
    source = parse("hf:org/repo@v1.0/q4/a.gguf")
    assert source == HubSource("org/repo", "q4/a.gguf", "v1.0")
    assert isinstance(source, HubSource)
    assert stored_path(source) == ("hf", "org", "repo@v1.0", "q4", "a.gguf")


def test_a_package_member_is_taken_apart() -> None:
    source = parse("pypi:My-Pack==1.0.2#pack/a.Q4_1.gguf")
    assert source == PackageSource("My-Pack", "1.0.2", "pack/a.Q4_1.gguf")
    assert isinstance(source, PackageSource)
    assert stored_path(source) == ("pypi", "my-pack-1.0.2", "pack", "a.Q4_1.gguf")


@pytest.mark.parametrize(
    "text", ["hf:org/repo/a.gguf", "hf:org/repo@dev/x/a.gguf", "pypi:p==1#a/b.gguf", "./x"]
)
def test_the_canonical_spelling_means_the_same(text: str) -> None:
    assert describe(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 2000,
        "a\nb.gguf",
        "a\x00.gguf",
        "hf:org/repo",
        "hf:repo.gguf",
        "hf:org/repo/../../etc/passwd.gguf",
        "hf:org/repo/./a.gguf",
        "hf:org/repo//a.gguf",
        "hf:../repo/a.gguf",
        "hf:org/repo/a.safetensors",
        "hf:org/repo/.hidden.gguf",
        "hf:org/repo/" + "d/" * 20 + "a.gguf",
        "hf:org/re po/a.gguf",
        "hf:https://elsewhere/a.gguf",
        "pypi:name#a.gguf",
        "pypi:name>=1#a.gguf",
        "pypi:name==1",
        "pypi:-r==1#a.gguf",
        "pypi:name==1 --index-url x#a.gguf",
        "pypi:name==1;x#a.gguf",
        "pypi:name[extra]==1#a.gguf",
        "pypi:name==1#../a.gguf",
        "pypi:name==1#/a.gguf",
        "pypi:name==1#a.py",
        "https://elsewhere/a.gguf",
        "ollama:llama3",
    ],
)
def test_what_is_no_source_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(text)
    assert caught.value.error_id == "HX-0510"
    assert "hf:org/repo/file.gguf" in caught.value.hint


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match="smollm2-135m, all-minilm-l6-v2") as caught:
        parse("smolm2")
    assert "./smolm2" in caught.value.hint
