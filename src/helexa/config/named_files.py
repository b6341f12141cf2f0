"""Looks at the files that settings name: are they there, can they be used, are they private."""

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from helexa.config.cortex import ControlPlaneSettings, CortexConfig, GatewaySettings
from helexa.config.keys import read_keys_file, read_secret_file
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import Path as SettingPath
from helexa.config.problems import show
from helexa.config.rules import Finding
from helexa.util.errors import ConfigError, describe


def file_findings(config: CortexConfig | NeuronConfig) -> Iterator[Finding]:
    """Look at every file that the settings name."""
    if isinstance(config, CortexConfig):
        yield from _secret(("auth", "keys_file"), config.auth.keys_file, read_keys_file)
        plane = config.control_plane
        at = ("control_plane", "join_token_file")
        yield from _secret(at, plane.join_token_file, _token)
        for name in ("gateway", "control_plane"):
            yield from _certificate(name, getattr(config, name))
        return
    yield from _secret(("join_token_file",), config.join_token_file, _token)
    yield from _secret(("hub", "token_file"), config.hub.token_file, _token)
    for index, server in enumerate(config.attach.servers):
        yield from _secret(
            ("attach", "servers", index, "api_key_file"), server.api_key_file, _token
        )
    if config.tls.ca_file is not None:
        yield from _authorities(config.tls.ca_file)
    for index, folder in enumerate(config.model_folders):
        if not folder.is_dir():
            yield Finding(("model_folders", index), "is not a folder", show(str(folder)))
    for name, binary in config.engines.binaries.items():
        if not (binary.is_file() and os.access(binary, os.X_OK)):
            at_binary = ("engines", "binaries", name)
            yield Finding(at_binary, "is not an executable file", show(str(binary)))


def _token(path: Path) -> object:
    return read_secret_file(path, "secret")


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
        if path is not None and not path.is_file():
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
