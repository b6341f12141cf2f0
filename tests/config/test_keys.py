"""Files with secrets."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from helexa.config.keys import (
    parse_keys,
    read_foreign_key_file,
    read_keys_file,
    read_token_file,
)
from helexa.util.errors import ConfigError
from tests.fakes.odd_files import ODD

KEY = "hlx_0123456789abcdef"
DIGEST = hashlib.sha256(KEY.encode()).digest()


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_keys_are_read_with_and_without_names_in_the_clear_and_hashed(tmp_path: Path) -> None:
    text = f"# keys\n\nalice: sha256:{'AB' * 32}  # a hash\nbob: {KEY}\nsk-without-a-name-1\n"
    alice, bob, nameless = read_keys_file(written(tmp_path, text))
    assert (alice.name, alice.digest) == ("alice", bytes([0xAB] * 32))
    assert (bob.name, bob.digest) == ("bob", DIGEST)
    assert nameless.name == nameless.key_id


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("read", [read_keys_file, read_token_file, read_foreign_key_file])
def test_what_is_no_plain_file_is_refused_at_once(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    ODD[kind](tmp_path / "odd")
    with pytest.raises(ConfigError, match="cannot read"):
        read(tmp_path / "odd")


def test_a_link_to_a_secret_is_followed(tmp_path: Path) -> None:
    """Orchestrators mount secrets as links."""
    (tmp_path / "link").symlink_to(written(tmp_path, KEY))
    assert read_token_file(tmp_path / "link") == KEY


def test_the_public_id_of_a_key_does_not_depend_on_how_it_is_written_and_shows_no_digest() -> None:
    plain, _, _ = parse_keys(f"a: {KEY}")
    hashed, _, _ = parse_keys(f"b: sha256:{DIGEST.hex()}")
    assert plain[0].key_id == hashed[0].key_id
    assert DIGEST.hex()[:8] not in plain[0].key_id


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("alice: short", "at least 16"),
        ("a b: " + KEY, "a name has"),
        ("alice: sha256:abc", "64 hex digits"),
        ("alice: has spaces in the middle of it", "no spaces"),
    ],
)
def test_bad_lines_are_named_by_number_and_never_repeat_the_key(
    tmp_path: Path, line: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read_keys_file(written(tmp_path, f"# first\n{line}\n"))
    assert "line 2" in caught.value.message
    assert said in caught.value.message
    assert line.partition(":")[2].strip() not in caught.value.message


def test_a_key_or_a_name_that_stands_there_twice_is_refused() -> None:
    _, _, problems = parse_keys(f"a: {KEY}\nb: {KEY}\na: {KEY}x\n")
    assert problems == [(2, "the same key stands above as 'a'"), (3, "the name 'a' is taken above")]


def test_a_file_without_keys_lets_nobody_in_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no keys"):
        read_keys_file(written(tmp_path, "# none yet\n"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_keys_in_the_clear_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"{mode:04o}") as caught:
        read_keys_file(written(tmp_path, KEY, mode))
    assert caught.value.hint == f"chmod 600 {tmp_path / 'secret'}"


def test_hashes_may_be_read_by_others_but_not_written(tmp_path: Path) -> None:
    text = f"alice: sha256:{DIGEST.hex()}"
    assert read_keys_file(written(tmp_path, text, 0o644))
    with pytest.raises(ConfigError, match="change it"):
        read_keys_file(written(tmp_path, text, 0o664))


def test_a_join_token_is_long_private_and_one_line(tmp_path: Path) -> None:
    assert read_token_file(written(tmp_path, f"  {KEY}\n")) == KEY
    for text in ("", "short", f"{KEY}\n{KEY}"):
        with pytest.raises(ConfigError, match="join token"):
            read_token_file(written(tmp_path, text))
    with pytest.raises(ConfigError, match="0600"):
        read_token_file(written(tmp_path, KEY, 0o644))


def test_a_key_of_another_server_may_have_any_length(tmp_path: Path) -> None:
    assert read_foreign_key_file(written(tmp_path, "lm-studio\n")) == "lm-studio"


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_keys_file(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a regular file"):
        read_keys_file(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        read_keys_file(binary)
