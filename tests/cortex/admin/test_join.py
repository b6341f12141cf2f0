"""How another machine joins, as a command."""

import socket
from pathlib import Path

from helexa.config.cortex import ControlPlaneSettings
from helexa.config.sockets import Socket
from helexa.cortex.admin.join import JoinInfo, join_info


def test_the_command_has_what_the_way_needs_and_no_secret() -> None:
    plain = JoinInfo("ws://box:9040", token_needed=True, token_file="/etc/helexa/token")
    assert plain.command() == (
        "helexa neuron --cortex-control-endpoint ws://box:9040"
        " --join-token-file join-token --allow-cleartext"
    )
    encrypted = JoinInfo("wss://box:9040", token_needed=False)
    assert encrypted.command() == "helexa neuron --cortex-control-endpoint wss://box:9040"
    assert JoinInfo("", token_needed=False).command() == ""


def test_a_socket_on_every_interface_is_told_by_this_machines_name() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        near = ControlPlaneSettings(socket=Socket("127.0.0.1", 0))
        assert join_info(near, [bound]) == JoinInfo(f"ws://127.0.0.1:{port}", token_needed=False)
        wide = ControlPlaneSettings(
            socket=Socket("0.0.0.0", 0),
            join_token_file=Path("/t"),
            tls_certificate_file=Path("/c"),
        )
        told = join_info(wide, [bound])
    assert told.control_endpoint == f"wss://{socket.gethostname()}:{port}"
    assert (told.token_needed, told.token_file) == (True, "/t")
    assert join_info(ControlPlaneSettings(socket=None), []).control_endpoint == ""
