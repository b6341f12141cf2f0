"""TLS as servers here use it: TLS 1.2 or newer, and the library's own choice of ciphers."""

import ssl
from pathlib import Path

from helexa.util.errors import ConfigError


def server_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the context of a server, or None where no certificate is configured.

    Both are PEM files; `key` may be in the certificate's file. Raises ConfigError.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate {certificate}: {error}",
            error_id="HX-2201",
            hint="it must be a PEM file that belongs to its key",
        ) from error
    return context
