"""The supervisor's side fits what the executor asks for, name by name."""

import inspect

import pytest

from helexa.neuron.runtime.ports import ModelAccess, SeatAccess
from helexa.neuron.runtime.supervisor import Supervisor
from helexa.neuron.runtime.supervisor_seats import Seats


def methods(port):
    return [
        name for name, value in vars(port).items() if inspect.isfunction(value) and name[0] != "_"
    ]


@pytest.mark.parametrize(("port", "part"), [(ModelAccess, Supervisor), (SeatAccess, Seats)])
def test_each_method_of_the_port_is_there_with_the_same_parameters(port, part):
    assert methods(port)
    for name in methods(port):
        wanted = list(inspect.signature(getattr(port, name)).parameters)
        assert list(inspect.signature(getattr(part, name)).parameters) == wanted
