"""`helexa pull`."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Helexa
from tests.fakes.hub_server import HubServer, serving
from tests.fakes.weights_files import tiny_llama

ROOT = Path(__file__).parents[2]


async def pulled(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `helexa pull` beside the event loop, which serves the hub."""
    environment = {"PYTHONPATH": "src", "PATH": os.environ["PATH"], "HOME": str(tmp_path),
                   "NO_PROXY": "127.0.0.1"}  # fmt: skip
    state = str(tmp_path / "state")
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "helexa", "pull", *arguments, "--state-dir", state],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip


async def test_weights_are_fetched_from_the_hub_that_the_settings_name(tmp_path: Path) -> None:
    data = tiny_llama()
    async with serving(HubServer({"o/r/tiny.gguf": data})) as hub:
        file = tmp_path / "neuron.toml"
        file.write_text(f'[hub]\nendpoint = "{hub.endpoint}"\n')
        ran = await pulled(tmp_path, "hf:o/r/tiny.gguf", "--config", str(file), "-o", "json")
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout)
        assert Path(told["path"]).read_bytes() == data
        assert Path(told["path"]).is_relative_to(tmp_path / "state" / "models")
        assert told["size_bytes"] == len(data)
        assert "hf:o/r/tiny.gguf: download 100 %" in ran.stderr
        again = await pulled(tmp_path, "hf:o/r/tiny.gguf", "--config", str(file))
        assert again.returncode == 0
        assert "download" not in again.stderr
        assert again.stdout.startswith(told["path"])


async def test_a_hub_that_refuses_is_told_and_fails(tmp_path: Path) -> None:
    async with serving(HubServer({})) as hub:
        file = tmp_path / "neuron.toml"
        file.write_text(f'[hub]\nendpoint = "{hub.endpoint}"\n')
        ran = await pulled(tmp_path, "hf:o/r/none.gguf", "--config", str(file))
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.splitlines()[-2].startswith("error[HX-0561]: ")


def test_without_a_name_everything_is_listed(helexa: Helexa, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "own.gguf").write_bytes(tiny_llama())
    ran = helexa("pull", "--weights-dir", folder)
    assert ran.status == 0
    assert "smollm2-135m" in ran.out
    assert ran.out.splitlines()[-1].startswith("own.gguf")
    told = json.loads(helexa("pull", "--weights-dir", folder, "-o", "json").out)
    assert [held["path"] for held in told["held"]] == ["own.gguf"]
    assert {offer["name"]: offer["held"] for offer in told["catalogue"]}["smollm2-135m"] is False


def test_what_is_no_source_is_told_with_what_is(helexa: Helexa) -> None:
    ran = helexa("pull", "ftp:nothing")
    assert ran.status == 1
    assert ran.err.startswith("error[HX-05")
    assert helexa("pull", "./here.gguf").status == 2
