"""This cortex among those of other operators. In this release it stands alone.

It has its operator's name, opens no socket for peers and knows none. What it tells is shown in
`status`, so that whoever looks sees "no peers" and need not guess.
"""

from dataclasses import dataclass

from helexa.config.shared import MeshSettings


@dataclass(frozen=True, slots=True)
class MeshView:
    """Who runs this cortex, and the peers it can reach."""

    operator: str
    peers: tuple[str, ...] = ()


def start_mesh(settings: MeshSettings) -> MeshView:
    """Return the mesh as this cortex sees it: itself."""
    return MeshView(operator=settings.operator)
