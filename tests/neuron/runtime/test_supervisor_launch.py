"""Starting one engine: what is handed to it, and what comes back when it is gone."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from helexa.model_runtime.engines.llamacpp import LlamaCpp
from helexa.model_runtime.interfaces import AttachPlan, LaunchPlan
from helexa.neuron.process.guarded import StartError
from helexa.neuron.registry.commands import StartEngine
from helexa.neuron.registry.events import NO_WEIGHTS
from helexa.neuron.runtime.supervisor_launch import Launcher, attach_headers, read_key, write_key
from helexa.neuron.runtime.supervisor_ports import Outfit
from helexa.protocol.ids import ModelId
from helexa.protocol.model import ModelCapability, ModelConfig
from helexa.util.errors import ConfigError
from tests.fakes.engines import AttachedEngine, TinyEngine


class Ports:
    def __init__(self) -> None:
        self.taken: set[int] = set()

    def take(self) -> int:
        self.taken.add(21000)
        return 21000

    def give_back(self, port: int) -> None:
        self.taken.remove(port)


class BrokenSpawner:
    """Starts nothing; keeps what it was asked to start."""

    def __init__(self) -> None:
        self.plans: list[LaunchPlan] = []

    async def start(self, plan: LaunchPlan, name: str):
        self.plans.append(plan)
        raise StartError("it cannot be run")


@pytest.fixture
def outfit(tmp_path: Path) -> Outfit:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "hosted").write_text("sk-1\n")
    return Outfit(python=sys.executable, key_folder=tmp_path / "keys", secrets_folder=secrets)


def order(engine: str = "tiny", **fields) -> StartEngine:
    config = ModelConfig(id=ModelId("m"), engine=engine, **fields)
    return StartEngine(
        model_id=config.id, attempt=1, config=config, weights=NO_WEIGHTS,
        capability=ModelCapability(),
    )  # fmt: skip


async def test_a_failed_start_keeps_neither_port_nor_key(outfit):
    ports, spawner = Ports(), BrokenSpawner()
    launcher = Launcher({"tiny": TinyEngine()}, outfit, spawner, ports)
    with pytest.raises(StartError):
        await launcher.start(order())
    assert spawner.plans[0].endpoint == "http://127.0.0.1:21000"
    assert ports.taken == set()
    assert list(outfit.key_folder.iterdir()) == []


async def test_a_config_that_cannot_be_launched_keeps_nothing(outfit):
    ports = Ports()
    launcher = Launcher({"tiny": TinyEngine()}, outfit, BrokenSpawner(), ports)
    with pytest.raises(ValueError, match="no usable binary"):
        await launcher.start(order(options={"exit": "never"}))
    assert ports.taken == set()


def test_an_executable_is_set_aside_only_where_there_is_another(outfit):
    binaries = {"llama-server": "/usr/bin/llama-server", "xllamacpp_server": "/x/server.py"}
    outfit = replace(outfit, binaries=binaries)
    launcher = Launcher({"llamacpp": LlamaCpp()}, outfit, BrokenSpawner(), Ports())
    assert not launcher.set_aside("llamacpp", sys.executable)
    assert launcher.set_aside("llamacpp", "/usr/bin/llama-server")
    assert not launcher.set_aside("llamacpp", "/usr/bin/llama-server")
    assert not launcher.set_aside("llamacpp", "/x/server.py")


async def test_giving_back_twice_is_harmless(outfit):
    ports = Ports()
    launcher = Launcher({"attached": AttachedEngine()}, outfit, BrokenSpawner(), ports)
    started = await launcher.start(order("attached", listen_endpoint="http://127.0.0.1:1"))
    assert (started.endpoint, started.process) == ("http://127.0.0.1:1", None)
    started.port = ports.take()
    launcher.give_back(started)
    launcher.give_back(started)
    assert ports.taken == set()


def test_a_key_file_is_private_even_if_an_open_one_was_there(tmp_path):
    path = tmp_path / "k" / "engine-1.key"
    path.parent.mkdir()
    path.write_text("old")
    path.chmod(0o666)
    write_key(path, "new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "new"


def test_a_key_of_the_secrets_folder_is_sent_without_its_line_end(outfit):
    plan = AttachPlan("https://api.example.com/v1", key_file="hosted")
    assert attach_headers(plan, outfit) == {"authorization": "Bearer sk-1"}


@pytest.mark.parametrize("name", ["../other", "/etc/hostname", "absent", "link", "."])
def test_a_key_file_outside_the_secrets_folder_is_never_read(outfit, tmp_path, name):
    """S02: a cortex may not choose which file leaves the machine."""
    (tmp_path / "other").write_text("private")
    (outfit.secrets_folder / "link").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="R5"):
        attach_headers(AttachPlan("http://127.0.0.1:1", key_file=name), outfit)


def test_without_a_secrets_folder_no_key_file_may_be_named(tmp_path):
    outfit = Outfit(python="", key_folder=tmp_path)
    with pytest.raises(ConfigError, match="no secrets folder"):
        attach_headers(AttachPlan("http://127.0.0.1:1", key_file="x"), outfit)


@pytest.mark.parametrize("content", [b"", b"  \n", b"a\nb", b"\xff\xfe", b"x" * 5000])
def test_a_file_without_a_usable_key_is_refused(tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no key|larger than"):
        read_key(tmp_path / "key")
    with pytest.raises(ConfigError, match="cannot read"):
        read_key(tmp_path / "absent")
