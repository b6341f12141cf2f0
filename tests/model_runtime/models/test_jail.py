import os
from pathlib import Path

import pytest

from helexa.model_runtime.models import jail
from helexa.util.errors import SourceError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.gguf").write_text("a")
    (tmp_path / "outside.gguf").write_text("secret")
    return folder


def rule(text: str, root: Path, *, folder_allowed: bool = False) -> str:
    with pytest.raises(SourceError) as caught:
        jail.locate(text, [root], folder_allowed=folder_allowed)
    assert caught.value.error_id == "HX-0520"
    return caught.value.message.partition("rule ")[2][:3]


def test_a_file_inside_is_found_by_relative_and_by_absolute_path(root: Path) -> None:
    real = root / "sub" / "a.gguf"
    assert jail.locate("sub/a.gguf", [root]) == real
    assert jail.locate(str(real), [root]) == real
    assert jail.locate("sub/../sub/a.gguf", [root]) == real


def test_further_folders_are_searched_in_order(root: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    first.mkdir()
    assert jail.locate("sub/a.gguf", [first, root]) == root / "sub" / "a.gguf"


@pytest.mark.parametrize(
    "text", ["../outside.gguf", "sub/../../outside.gguf", "/etc/passwd", "/", ".", "sub/../.."]
)
def test_a_path_that_leaves_is_refused(root: Path, text: str) -> None:
    assert rule(text, root) == "R5a"


def test_whether_a_file_outside_exists_is_not_told(root: Path) -> None:
    messages = set()
    for name in ("../outside.gguf", "../missing.g.gguf"):
        with pytest.raises(SourceError) as caught:
            jail.locate(name, [root])
        messages.add(caught.value.message.replace(name, "NAME"))
    assert len(messages) == 1


def test_a_sibling_with_the_folders_name_as_its_beginning_is_outside(root: Path) -> None:
    evil = root.parent / "models-evil"
    evil.mkdir()
    (evil / "a.gguf").write_text("x")
    assert rule(str(evil / "a.gguf"), root) == "R5a"


def test_a_link_out_is_refused_and_a_link_inside_is_followed(root: Path) -> None:
    (root / "out.gguf").symlink_to(root.parent / "outside.gguf")
    (root / "in.gguf").symlink_to(root / "sub" / "a.gguf")
    (root / "way").symlink_to(root.parent)
    assert rule("out.gguf", root) == "R5a"
    assert rule("way/outside.gguf", root) == "R5a"
    assert jail.locate("in.gguf", [root]) == root / "sub" / "a.gguf"


def test_a_circle_of_links_ends(root: Path) -> None:
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    with pytest.raises(SourceError):
        jail.locate("a", [root])


def test_only_regular_files_are_weights(root: Path) -> None:
    os.mkfifo(root / "pipe.gguf")
    assert rule("pipe.gguf", root) == "R5b"
    assert rule("sub", root) == "R5b"


def test_a_folder_is_taken_where_the_engine_takes_one(root: Path) -> None:
    assert jail.locate("sub", [root], folder_allowed=True) == root / "sub"


def test_a_folder_with_a_link_out_or_a_device_is_refused(root: Path) -> None:
    (root / "sub" / "config.json").symlink_to("/etc/passwd")
    assert rule("sub", root, folder_allowed=True) == "R5c"
    (root / "sub" / "config.json").unlink()
    os.mkfifo(root / "sub" / "pipe")
    assert rule("sub", root, folder_allowed=True) == "R5b"


def test_nothing_there_is_said_so(root: Path) -> None:
    for text in ("missing.gguf", "sub/a.gguf/deeper"):
        with pytest.raises(SourceError) as caught:
            jail.locate(text, [root])
        assert caught.value.error_id == "HX-0521"


def test_opening_follows_no_link_and_waits_for_no_pipe(root: Path) -> None:
    (root / "link.gguf").symlink_to(root / "sub" / "a.gguf")
    os.mkfifo(root / "pipe.gguf")
    for name, rule_name in (("link.gguf", "R5d"), ("pipe.gguf", "R5b"), ("sub", "R5b")):
        with pytest.raises(SourceError, match=rule_name):
            jail.open_file(root / name)
    handle = jail.open_file(root / "sub" / "a.gguf")
    assert os.read(handle, 9) == b"a"
    os.close(handle)
