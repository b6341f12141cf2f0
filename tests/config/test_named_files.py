"""Files that settings name."""

import ssl
from pathlib import Path
from typing import Any

from helexa.config.cortex import CortexConfig
from helexa.config.named_files import file_findings
from helexa.config.neuron import NeuronConfig
from helexa.config.problems import dotted


def in_cortex(**tree: Any) -> dict[str, str]:
    config = CortexConfig.model_validate({"state_dir": "/x", **tree})
    return {dotted(finding.path): finding.message for finding in file_findings(config)}


def in_neuron(**tree: Any) -> dict[str, str]:
    config = NeuronConfig.model_validate({"state_dir": "/x", "node_id": "n", **tree})
    return {dotted(finding.path): finding.message for finding in file_findings(config)}


def test_files_that_are_not_there_are_told_one_by_one(tmp_path: Path) -> None:
    """R0.16: missing key, token and TLS files are told before any socket is bound."""
    none = str(tmp_path / "none")
    told = in_cortex(
        auth={"keys_file": none},
        control_plane={"join_token_file": none},
        gateway={"tls_certificate_file": none, "tls_key_file": none},
    )
    assert set(told) == {
        "auth.keys_file", "control_plane.join_token_file", "gateway.tls_certificate_file",
        "gateway.tls_key_file",
    }  # fmt: skip
    told = in_neuron(
        join_token_file=none, hub={"token_file": none}, tls={"ca_file": none},
        model_folders=[none], attach={"secrets_dir": none}, engines={"binaries": {"x": none}},
    )  # fmt: skip
    assert set(told) == {
        "join_token_file", "hub.token_file", "tls.ca_file", "model_folders[0]",
        "attach.secrets_dir", "engines.binaries.x",
    }  # fmt: skip


def test_a_secret_that_others_can_read_is_told_with_the_cure(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    told = in_neuron(join_token_file=str(token))
    assert f"(hint: chmod 600 {token})" in told["join_token_file"]
    token.chmod(0o600)
    assert in_neuron(join_token_file=str(token)) == {}


def test_a_certificate_must_fit_its_key(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    told = in_cortex(gateway={"tls_certificate_file": str(broken), "tls_key_file": str(broken)})
    assert "does not make a certificate" in told["gateway.tls_certificate_file"]
    assert "cannot be used" in in_neuron(tls={"ca_file": str(broken)})["tls.ca_file"]


def test_files_that_are_right_are_passed_over_in_silence(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    authorities = ssl.get_default_verify_paths().cafile
    tls = {"ca_file": authorities} if authorities else {}
    tree = {"model_folders": [str(tmp_path)], "engines": {"binaries": {"llama-server": program}}}
    assert in_neuron(tls=tls, **tree) == {}
    program.chmod(0o644)
    assert list(in_neuron(**tree)) == ["engines.binaries.llama-server"]
