"""The folder in which a neuron keeps what outlives a restart."""

import os
import stat

import pytest

from helexa.neuron.runtime.state_folder import StateFolder
from helexa.protocol.model import ModelConfig
from helexa.util.errors import ConfigError, LimitError
from tests.fakes.odd_files import ODD

CONFIG = ModelConfig(id="m", engine="echo", options={"parallel": 2}, aliases=("a",))


@pytest.fixture
def folder(tmp_path):
    made = StateFolder(tmp_path)
    made.open()
    yield made
    made.close()


def test_only_one_neuron_has_the_folder(folder, tmp_path):
    other = StateFolder(tmp_path)
    with pytest.raises(LimitError, match=f"process {os.getpid()}"):
        other.open()
    folder.close()
    other.open()
    other.close()


def test_the_folder_is_its_owners_alone(tmp_path):
    (tmp_path / "neuron").mkdir(mode=0o755)
    folder = StateFolder(tmp_path)
    folder.open()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder.path / "lock").stat().st_mode) == 0o600
    folder.close()


def test_a_folder_that_cannot_be_made_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        StateFolder(tmp_path / "file").open()


@pytest.mark.parametrize("kind", ODD)
def test_a_lock_that_is_no_plain_file_is_refused_at_once(tmp_path, kind):
    """Nothing is waited for, and the target of a link is not emptied."""
    (tmp_path / "neuron").mkdir()
    ODD[kind](tmp_path / "neuron" / "lock")
    with pytest.raises(ConfigError, match=r"cannot be used: .*lock"):
        StateFolder(tmp_path).open()


@pytest.mark.parametrize("kind", ODD)
def test_a_state_file_that_is_no_plain_file_is_set_aside_at_once(folder, kind):
    ODD[kind](folder.path / "models.json")
    assert folder.configs() == ()
    assert len(list(folder.path.glob("models.json.corrupt-*"))) == 1
    folder.save_configs((CONFIG,))
    assert folder.configs() == (CONFIG,)


def test_configs_outlive_the_process(folder, tmp_path):
    """R1.17: what was saved is known after a restart."""
    assert folder.configs() == ()
    folder.save_configs((CONFIG,))
    folder.close()
    again = StateFolder(tmp_path)
    again.open()
    assert again.configs() == (CONFIG,)
    again.close()


def test_damaged_configs_are_set_aside_and_nothing_is_lost(folder):
    folder.save_configs((CONFIG,))
    file = folder.path / "models.json"
    damaged = file.read_bytes().replace(b"echo", b"ohce")
    file.write_bytes(damaged)
    assert folder.configs() == ()
    (kept,) = folder.path.glob("models.json.corrupt*")
    assert kept.read_bytes() == damaged


def test_a_disk_that_refuses_is_an_os_error(folder):
    (folder.path / "models.json").mkdir()
    with pytest.raises(OSError, match=r"cannot save .*models\.json"):
        folder.save_configs((CONFIG,))


def test_epochs_rise_with_every_start_even_when_the_date_goes_back(folder):
    """F23: a clock that was set back does not make a newer start look older."""
    first = folder.next_epoch(1000.0)
    assert first == 1_000_000
    assert folder.next_epoch(500.0) == first + 1
    assert folder.next_epoch(2000.0) == 2_000_000
