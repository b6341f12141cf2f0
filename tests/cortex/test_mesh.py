"""A cortex without peers says so."""

from helexa.config.shared import MeshSettings
from helexa.cortex.mesh import start_mesh


def test_a_cortex_stands_alone_under_its_operators_name() -> None:
    """R0.28, R0.29: the mesh is started with cortex; in this release it has no peers."""
    view = start_mesh(MeshSettings(operator="acme"))
    assert view.operator == "acme"
    assert view.peers == ()
