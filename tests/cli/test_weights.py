"""The store that settings describe."""

from pathlib import Path

from helexa.cli.weights import spawner_for, store_for
from helexa.config.neuron import NeuronConfig
from tests.fakes.weights_files import tiny_llama


async def test_weights_are_found_in_every_folder_that_the_settings_allow(tmp_path: Path) -> None:
    further = tmp_path / "further"
    further.mkdir()
    (further / "a.gguf").write_bytes(tiny_llama())
    config = NeuronConfig(state_dir=tmp_path, node_id="n", model_folders=(further,))
    config.weights_folder.mkdir()
    store = store_for(config, spawner_for(config))
    assert store.folder == tmp_path / "models"
    assert (await store.resolve(str(further / "a.gguf"))).path == further / "a.gguf"


async def test_helper_programs_get_the_environment_of_the_settings(tmp_path: Path) -> None:
    config = NeuronConfig(state_dir=tmp_path, node_id="n", program_environment={"MARK": "here"})
    status, text = await spawner_for(config).run_program(("/usr/bin/env",), 20.0)
    assert status == 0
    assert "MARK=here" in text
