"""How another machine joins this cortex."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from helexa.config.cortex import ControlPlaneSettings
from helexa.config.sockets import Socket, parse_url


@dataclass(frozen=True, slots=True)
class JoinInfo:
    """How a machine joins this cortex; no secret in it."""

    control_endpoint: str
    """The websocket URL to dial; empty where the control plane is off."""
    token_needed: bool
    token_file: str = ""

    def command(self) -> str:
        """Return the command that is run on the other machine."""
        if not self.control_endpoint:
            return ""
        token = " --join-token-file join-token" if self.token_needed else ""
        url = parse_url(self.control_endpoint, ("ws", "wss"))
        # A neuron sends prompts in the clear only where it is told to.
        clear = "" if url.is_encrypted or url.is_loopback else " --allow-cleartext"
        return f"helexa neuron --cortex-control-endpoint {self.control_endpoint}{token}{clear}"


def join_info(settings: ControlPlaneSettings, bound: Sequence[socket.socket]) -> JoinInfo:
    """Return how to join; where it listens on every interface, by this machine's name."""
    token_file = str(settings.join_token_file) if settings.join_token_file is not None else ""
    if settings.socket is None or not bound:
        return JoinInfo("", token_needed=False)
    host = socket.gethostname() if settings.socket.is_wildcard else settings.socket.host
    scheme = "wss" if settings.tls_certificate_file is not None else "ws"
    where = Socket(host, bound[0].getsockname()[1])
    return JoinInfo(f"{scheme}://{where}", token_needed=bool(token_file), token_file=token_file)
