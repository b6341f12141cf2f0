"""Which executables engines may use (rule R1)."""

import os

import pytest

from helexa.neuron.process.binaries import file_problem, find_binaries, on_path, run_problem
from helexa.neuron.process.guarded import StartError
from helexa.util.errors import TimedOutError


@pytest.fixture
def tool(tmp_path):
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir(mode=0o755)
    path.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo 'version: 1'\n")
    path.chmod(0o755)
    return path


def test_a_private_executable_is_allowed(tool):
    assert file_problem(str(tool)) is None


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_binary_that_others_can_write_is_refused(tool, mode):
    tool.chmod(mode)
    assert "rule R1" in file_problem(str(tool))


def test_a_binary_in_a_folder_that_others_can_write_is_refused(tool):
    tool.parent.chmod(0o777)
    assert "rule R1" in file_problem(str(tool))


def test_a_binary_of_another_user_is_refused(tool):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(tool, 12345, -1)
    assert "12345" in file_problem(str(tool))


def test_what_is_no_executable_file_is_refused(tool, tmp_path):
    assert "absolute" in file_problem("llama-server")
    assert "regular" in file_problem(str(tmp_path))
    assert "cannot be read" in file_problem(str(tmp_path / "absent"))
    tool.chmod(0o644)
    assert "not executable" in file_problem(str(tool))


def test_the_search_path_is_searched_in_order_and_relative_folders_are_skipped(tool, tmp_path):
    path = os.pathsep.join([".", "", str(tmp_path), str(tool.parent)])
    assert on_path("llama-server", path) == str(tool)
    assert on_path("absent", path) is None


async def test_usable_binaries_are_found_and_the_others_told_why(spawner, tool, tmp_path):
    broken = tmp_path / "bin" / "broken"
    broken.write_text("#!/bin/sh\necho 'no such option'; exit 3\n")
    broken.chmod(0o755)
    found = await find_binaries(
        ("llama-server", "broken", "absent"),
        {"broken": str(broken)},
        str(tool.parent),
        spawner.run_program,
        {"llama-server": ("--version",), "broken": ("--version",)},
    )
    assert found.usable == {"llama-server": str(tool)}
    assert "status 3: no such option" in found.problems["broken"]
    assert "not found" in found.problems["absent"]


async def test_a_link_is_used_by_its_own_name_if_nobody_else_can_turn_it(tool, tmp_path):
    """The Python of a virtual environment is a link, and works by that name only."""
    link = tmp_path / "venv" / "python"
    link.parent.mkdir(mode=0o755)
    (tmp_path / "hop").symlink_to(tool)
    link.symlink_to("../hop")

    async def find():
        return await find_binaries(("python",), {"python": str(link)}, "", None, {})

    assert (await find()).usable == {"python": str(link)}
    for folder in (link.parent, tmp_path):
        mode = folder.stat().st_mode
        folder.chmod(0o777)
        assert "can be written by others" in (await find()).problems["python"]
        folder.chmod(mode)
    if os.geteuid() == 0:
        os.chown(tmp_path / "hop", 12345, -1, follow_symlinks=False)
        assert "12345" in (await find()).problems["python"]


async def test_a_build_for_another_cpu_is_told_as_such(spawner, tool):
    tool.write_text("#!/bin/sh\nkill -ILL $$\n")
    assert "CPU" in await run_problem(str(tool), ("--version",), spawner.run_program)


@pytest.mark.parametrize(
    "error", [StartError("it cannot be run"), TimedOutError("too slow", error_id="HX-2304")]
)
async def test_a_binary_that_cannot_be_run_is_told(error):
    async def run(argv, timeout_s):
        raise error

    assert str(error) in await run_problem("/x", ("--version",), run)
