"""The real neuron and the one of these tests both look as the control plane expects."""

import inspect

import pytest

from helexa.neuron.control_plane.ports import NeuronFace as Port
from helexa.neuron.runtime.neuron_face import NeuronFace
from helexa.protocol.ports import NeuronControl
from tests.fakes.neuron_face import FakeNeuron


@pytest.mark.parametrize("face", [NeuronFace, FakeNeuron])
def test_a_face_has_each_method_with_the_same_parameters(face):
    """R1.8, R1.34: NeuronControl is the boundary; the tests' neuron is a second one."""
    for port in (Port, NeuronControl):
        names = [name for name, value in vars(port).items() if inspect.isfunction(value)]
        for name in (name for name in names if name[0] != "_"):
            wanted = list(inspect.signature(getattr(port, name)).parameters)
            assert list(inspect.signature(getattr(face, name)).parameters) == wanted
