"""TLS contexts of servers."""

from pathlib import Path

import pytest

from helexa.util.errors import ConfigError
from helexa.util.tls import server_context


def test_without_a_certificate_there_is_no_tls() -> None:
    assert server_context(None, None) is None


def test_a_file_that_is_no_certificate_is_a_config_error(tmp_path: Path) -> None:
    broken = tmp_path / "cert.pem"
    broken.write_text("not a certificate")
    with pytest.raises(ConfigError, match="cert.pem"):
        server_context(broken, None)
    with pytest.raises(ConfigError, match="missing.pem"):
        server_context(tmp_path / "missing.pem", None)
