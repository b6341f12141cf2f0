"""The manual of all settings."""

from pathlib import Path

from helexa.config.cortex import CortexConfig
from helexa.config.environment import variable_name
from helexa.config.fields import settings_of
from helexa.config.manual import manual
from helexa.config.neuron import NeuronConfig

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_page_in_the_docs_is_what_the_models_say() -> None:
    assert PAGE.read_text() == manual(), "run: make docs"


def test_every_setting_and_its_variable_are_on_the_page() -> None:
    text = manual()
    for role in (CortexConfig, NeuronConfig):
        for setting in settings_of(role):
            shown = f"[[{setting.name}]]" if setting.entry else f"`{variable_name(setting)}` |"
            assert shown in text, setting.name
