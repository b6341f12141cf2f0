"""Files with secrets: the gateway's API keys, the join token, a key for another server.

A keys file has one key a line, `#` starts a comment:

    alice: sha256:5e88…           name and SHA-256 of the key, in hex
    bob:   hlx_3f0c…              name and the key itself
    hlx_77ab…                     a key without a name

Keys are hashed as soon as they are read; the text of a key is not kept. A plain hash is right
here: keys are long and random, so there is nothing to guess (chosen passwords would need more).
A file that holds a secret in the clear must be its owner's alone.
"""

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from helexa.util.errors import ConfigError
from helexa.util.regular_files import read_regular

KEY_CHARS_MIN: Final = 16
KEYS_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 16 * 2**20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")
_SECRET: Final = re.compile(r"[\x21-\x7e]+\Z")
_COMMENT: Final = re.compile(r"(^|\s)#.*")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. `key_id` may be logged; it is made from the digest and never from the name."""

    key_id: str
    name: str
    digest: bytes
    """SHA-256 of the key, 32 bytes; compare it in constant time."""


def digest_of(key: bytes) -> bytes:
    """Return the SHA-256 of a key as a caller sends it."""
    return hashlib.sha256(key).digest()


def read_keys_file(path: Path) -> tuple[ApiKey, ...]:
    """Read a keys file; raises ConfigError that names every bad line, never a key."""
    text = _read(path)
    keys, holds_secrets, problems = parse_keys(text)
    if problems:
        listed = "; ".join(f"line {line}: {what}" for line, what in problems)
        raise ConfigError(f"{path}: {listed}", error_id="HX-0111", hint=KEYS_HINT)
    if not keys:
        raise ConfigError(f"{path} holds no keys", error_id="HX-0111", hint=KEYS_HINT)
    refuse_open_file(path, holds_secrets=holds_secrets)
    return keys


KEYS_HINT: Final = (
    "make a key: python3 -c 'import secrets; print(\"hlx_\" + secrets.token_urlsafe(32))'"
)


def parse_keys(text: str) -> tuple[tuple[ApiKey, ...], bool, list[tuple[int, str]]]:
    """Read the text of a keys file: keys, whether any stands in the clear, and bad lines. Pure."""
    found: dict[bytes, ApiKey] = {}
    names: set[str] = set()
    problems: list[tuple[int, str]] = []
    holds_secrets = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw).strip()
        if not line:
            continue
        name, value = _split(line)
        plain = not value.lower().startswith("sha256:")
        holds_secrets = holds_secrets or plain
        digest, problem = _digest(value)
        if name and not _NAME.match(name):
            problem = "a name has 1 to 64 characters of A-Z a-z 0-9 . _ @ + -"
        elif digest in found:
            problem = f"the same key stands above as {found[digest].name!r}"
        elif name and name in names:
            problem = f"the name {name!r} is taken above"
        elif len(found) >= KEYS_MAX:
            problem = f"more than {KEYS_MAX} keys"
        if problem or digest is None:
            problems.append((number, problem))
            continue
        key_id = "key-" + digest_of(b"key-id:" + digest).hex()[:12]
        found[digest] = ApiKey(key_id, name or key_id, digest)
        names.add(name)
    return tuple(found.values()), holds_secrets, problems


def _split(line: str) -> tuple[str, str]:
    if line.lower().startswith("sha256:"):
        return "", line
    name, colon, value = line.partition(":")
    return (name.strip(), value.strip()) if colon else ("", line)


def _digest(value: str) -> tuple[bytes | None, str]:
    if value.lower().startswith("sha256:"):
        digits = value[7:].strip()
        if not _DIGEST.match(digits):
            return None, "after sha256: stand 64 hex digits"
        return bytes.fromhex(digits), ""
    if len(value) < KEY_CHARS_MIN or not _SECRET.match(value):
        return None, f"a key has at least {KEY_CHARS_MIN} printable characters and no spaces"
    return digest_of(value.encode()), ""


def read_token_file(path: Path) -> str:
    """Read a join token; raises ConfigError where the file holds none or others can read it."""
    return _read_secret(path, "join token", KEY_CHARS_MIN)


def read_foreign_key_file(path: Path) -> str:
    """Read a key that another server gave us, of any length; raises ConfigError."""
    return _read_secret(path, "key", 1)


def _read_secret(path: Path, what: str, chars_min: int) -> str:
    text = _read(path).strip()
    if len(text) < chars_min or not _SECRET.match(text):
        raise ConfigError(
            f"{path} does not hold a {what}: it must be one line of at least {chars_min} "
            "printable characters without spaces",
            error_id="HX-0112",
            hint=f"(umask 077; openssl rand -hex 32 > {path})",
        )
    refuse_open_file(path, holds_secrets=True)
    return text


def refuse_open_file(path: Path, *, holds_secrets: bool) -> None:
    """Raise ConfigError when others may write the file, or read the secrets in it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    refused = (stat.S_IRWXG | stat.S_IRWXO) if holds_secrets else (stat.S_IWGRP | stat.S_IWOTH)
    if mode & refused:
        raise ConfigError(
            f"{path} has mode {mode:04o}, so other users can "
            f"{'use' if holds_secrets else 'change'} it; allowed: 0600",
            error_id="HX-0113",
            hint=f"chmod 600 {path}",
        )


def _read(path: Path) -> str:
    try:
        # Secrets are often mounted as links.
        content = read_regular(path, FILE_BYTES_MAX, follow=True)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror or error}", error_id="HX-0110"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", error_id="HX-0110") from error
