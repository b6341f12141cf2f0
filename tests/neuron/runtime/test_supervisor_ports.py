"""The supervisor's settings: nothing is allowed that was not said."""

from pathlib import Path

from helexa.model_runtime.models.store import ModelStore
from helexa.neuron.process.ports import PortPool
from helexa.neuron.process.spawn import Spawner
from helexa.neuron.runtime.supervisor_ports import (
    Outfit,
    World,
)
from helexa.neuron.runtime.supervisor_seats import Seats
from helexa.util.clock import SystemClock


def test_a_world_without_listeners_ignores_what_it_is_told(tmp_path: Path):
    seats = Seats(SystemClock())
    spawner, pool = Spawner(tmp_path, "python"), PortPool(21000, 21001)
    world = World(ModelStore(tmp_path), spawner, pool, seats)
    world.save_configs(())
    world.on_broken(ValueError())
    assert world.seats is seats


def test_by_default_no_key_file_may_be_named_and_nothing_is_attached_with_a_key(tmp_path: Path):
    outfit = Outfit(python="python", key_folder=tmp_path)
    assert outfit.secrets_folder is None
