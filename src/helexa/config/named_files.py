"""Looks at the files that settings name: are they there, can they be used, are they private."""

import os
import ssl
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from helexa.config.cortex import ControlPlaneSettings, CortexConfig, GatewaySettings
from helexa.config.keys import read_foreign_key_file, read_keys_file, read_token_file
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import Path as SettingPath
from helexa.config.problems import show
from helexa.config.rules import Finding
from helexa.config.shared import SharedSettings
from helexa.util.errors import ConfigError, describe


def file_findings(config: SharedSettings) -> Iterator[Finding]:
    """Look at every file that the settings of a role name."""
    if isinstance(config, CortexConfig):
        yield from _cortex_files(config)
    elif isinstance(config, NeuronConfig):
        yield from _neuron_files(config)


def _cortex_files(config: CortexConfig) -> Iterator[Finding]:
    yield from _secret(("auth", "keys_file"), config.auth.keys_file, read_keys_file)
    password_file = config.store.password_file
    yield from _secret(("store", "password_file"), password_file, read_foreign_key_file)
    token_file = config.control_plane.join_token_file
    yield from _secret(("control_plane", "join_token_file"), token_file, read_token_file)
    yield from _certificate("gateway", config.gateway)
    yield from _certificate("control_plane", config.control_plane)


def _neuron_files(config: NeuronConfig) -> Iterator[Finding]:
    yield from _secret(("join_token_file",), config.join_token_file, read_token_file)
    yield from _secret(("hub", "token_file"), config.hub.token_file, read_foreign_key_file)
    if config.attach.secrets_dir is not None and not _is(config.attach.secrets_dir, stat.S_ISDIR):
        secrets = show(str(config.attach.secrets_dir))
        yield Finding(("attach", "secrets_dir"), "is not a folder", secrets)
    if config.tls.ca_file is not None:
        yield from _authorities(config.tls.ca_file)
    for index, folder in enumerate(config.model_folders):
        if not _is(folder, stat.S_ISDIR):
            yield Finding(("model_folders", index), "is not a folder", show(str(folder)))
    for name, binary in config.engines.binaries.items():
        if not (_is(binary, stat.S_ISREG) and os.access(binary, os.X_OK)):
            at_binary = ("engines", "binaries", name)
            yield Finding(at_binary, "is not an executable file", show(str(binary)))


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Tell what a path is; False where it cannot be looked at either."""
    try:
        return kind(path.stat().st_mode)
    except OSError:
        return False


def _secret(
    at: SettingPath, path: Path | None, read: Callable[[Path], object]
) -> Iterator[Finding]:
    if path is None:
        return
    try:
        read(path)
    except ConfigError as error:
        hint = f" (hint: {error.hint})" if error.hint else ""
        yield Finding(at, f"{error.message}{hint}", show(str(path)))


def _certificate(name: str, group: GatewaySettings | ControlPlaneSettings) -> Iterator[Finding]:
    certificate, key = group.tls_certificate_file, group.tls_key_file
    missing = False
    for part, path in (("tls_certificate_file", certificate), ("tls_key_file", key)):
        if path is not None and not _is(path, stat.S_ISREG):
            missing = True
            yield Finding((name, part), "no such file", show(str(path)))
    if certificate is None or key is None or missing:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        yield Finding(
            (name, "tls_certificate_file"),
            f"does not make a certificate together with {name}.tls_key_file: {describe(error)}",
            show(str(certificate)),
        )


def _authorities(path: Path) -> Iterator[Finding]:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        yield Finding(("tls", "ca_file"), f"cannot be used: {describe(error)}", show(str(path)))
