"""Memory limits of control groups, both versions, in made-up trees."""

from pathlib import Path

import pytest

from helexa.neuron.hardware.cgroups import memory_limit_bytes, memory_used_bytes


@pytest.fixture
def tree(tmp_path: Path):
    def make(cgroup: str, **files: str) -> Path:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_the_lowest_limit_on_the_way_up_counts(tree):
    root = tree(
        "0::/a/b\n",
        a__b__memory_dot_max="max\n", a__memory_dot_max="5000\n", memory_dot_max="9000\n",
    )  # fmt: skip
    assert memory_limit_bytes(root) == 5000


def test_a_container_that_sees_only_its_own_top_is_limited_by_it(tree):
    root = tree("0::/docker/abc\n", memory_dot_max="7000\n")
    assert memory_limit_bytes(root) == 7000


def test_version_1_limits_are_read_and_its_no_limit_is_none(tree):
    root = tree(
        "9:cpu:/x\n4:memory:/x\n0::/\n",
        memory__x__memory_dot_limit_in_bytes="3000\n",
        memory__memory_dot_limit_in_bytes="9223372036854771712\n",
    )
    assert memory_limit_bytes(root) == 3000


def test_no_limit_and_no_groups_are_none(tree, tmp_path):
    assert memory_limit_bytes(tmp_path / "absent") is None
    assert memory_limit_bytes(tree("0::/\n", memory_dot_max="max")) is None


def test_use_is_told_without_what_can_be_dropped(tree):
    root = tree(
        "0::/a\n", a__memory_dot_current="5000\n", a__memory_dot_stat="anon 1\ninactive_file 2000\n"
    )
    assert memory_used_bytes(root) == 3000
    assert memory_used_bytes(root / "absent") is None
