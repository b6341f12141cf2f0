"""Which build this is, from made-up checkouts and packages."""

from pathlib import Path

import pytest

import helexa
from helexa.util.build import NOTE, commit_of, identity

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = COMMIT[::-1]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    write(tmp_path / "pyproject.toml", '[project]\nname = "helexa"\n')
    folder = tmp_path / "src" / "helexa"
    folder.mkdir(parents=True)
    return folder


def test_a_wheel_tells_the_commit_that_it_was_made_from(tmp_path: Path) -> None:
    """Lesson 60: "merged" is not "deployed"."""
    write(tmp_path / "helexa" / NOTE, f"{COMMIT}\n")
    assert commit_of(tmp_path / "helexa") == COMMIT


@pytest.mark.parametrize(
    ("files", "commit"),
    [
        ({".git/HEAD": COMMIT + "\n"}, COMMIT),
        ({".git/HEAD": "ref: refs/heads/a-b/c\n", ".git/refs/heads/a-b/c": COMMIT + "\n"}, COMMIT),
        (
            {
                ".git/HEAD": "ref: refs/heads/main\n",
                ".git/packed-refs": f"# pack\n{OTHER} refs/heads/main2\n{COMMIT} refs/heads/main\n",
            },
            COMMIT,
        ),
        (
            {
                ".git": "gitdir: shared/worktrees/w\n",
                "shared/worktrees/w/HEAD": "ref: refs/heads/w\n",
                "shared/worktrees/w/commondir": "../..\n",
                "shared/refs/heads/w": COMMIT + "\n",
            },
            COMMIT,
        ),
        ({".git/HEAD": "ref: refs/heads/none\n"}, None),
        ({".git/HEAD": "ref: ../../etc/passwd\n"}, None),
        ({".git/HEAD": "nonsense\n"}, None),
        ({}, None),
    ],
    ids=["detached", "branch", "packed", "work tree", "unborn", "no ref", "nonsense", "no git"],
)
def test_a_checkout_is_asked_itself_without_git(
    package: Path, tmp_path: Path, files: dict[str, str], commit: str | None
) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    assert commit_of(package) == commit


def test_the_checkout_of_somebody_else_is_not_ours(package: Path, tmp_path: Path) -> None:
    write(tmp_path / ".git" / "HEAD", COMMIT)
    write(tmp_path / "pyproject.toml", '[project]\nname = "their-app"\n')
    assert commit_of(package) is None


def test_the_identity_has_the_version_and_no_unknowns() -> None:
    told = identity()
    assert told["version"] == helexa.__version__
    assert all(told.values())
    assert set(told) <= {"version", "commit"}
