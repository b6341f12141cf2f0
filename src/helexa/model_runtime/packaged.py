"""Servers that come with helexa and run as processes of their own: where they are, if usable.

A description names them like any other binary (`Launch.binaries`). They are run by path under
`python -I`, so that neither the user's environment nor the working folder can change what is
imported.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

XLLAMACPP_SERVER: Final = "xllamacpp_server"
ECHO_SERVER: Final = "echo_server"


def packaged_servers() -> dict[str, str]:
    """Return the absolute path of each packaged server that this installation can run, by name.

    `xllamacpp_server` needs the extra `helexa[llama]`; nothing is imported to find that out.
    """
    here = Path(__file__).resolve().parent
    servers = {ECHO_SERVER: str(here / "echo_server.py")}
    if find_spec("xllamacpp") is not None:
        servers[XLLAMACPP_SERVER] = str(here / "xllamacpp_server.py")
    return servers
