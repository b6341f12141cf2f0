"""The hardware report, of this machine and of made-up ones."""

import os
from pathlib import Path

import psutil

from helexa.neuron.hardware.report import (
    cpu_features,
    memory_budget_bytes,
    physical_cores,
    read_hardware,
)
from helexa.protocol.neuron import Device, HardwareReport

GIB = 1 << 30
GPU = Device(index=0, vendor="nvidia", name="L4", memory_total_bytes=24 * GIB, memory_free_bytes=0)


def hardware(memory_gib: float, *devices: Device) -> HardwareReport:
    total = int(memory_gib * GIB)
    return HardwareReport(
        cpu_count=2, memory_total_bytes=total, memory_available_bytes=total, devices=devices
    )


def test_this_machine_is_told_as_it_is():
    found = read_hardware()
    assert found.cpu_count == len(os.sched_getaffinity(0))
    assert 0 < found.memory_available_bytes <= found.memory_total_bytes
    assert found.memory_total_bytes <= psutil.virtual_memory().total
    assert (found.os, found.arch) == ("linux", os.uname().machine)
    assert 1 <= physical_cores() <= found.cpu_count


def test_a_control_group_that_allows_less_than_the_machine_has_counts(tmp_path: Path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(str(1 << 28))
    (group / "memory.current").write_text(str(1 << 26))
    found = read_hardware(tmp_path, lambda: (GPU,))
    assert found.memory_total_bytes == 1 << 28
    assert found.memory_available_bytes == (1 << 28) - (1 << 26)
    assert found.devices == (GPU,)


def test_cpu_features_are_those_that_engines_care_about(tmp_path: Path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor: 0\nflags\t\t: fpu avx2 fma avx512f\n")
    assert cpu_features(tmp_path) == ("avx2", "avx512f", "fma")
    (tmp_path / "proc/cpuinfo").write_text("Features\t: fp asimd sve\n")
    assert cpu_features(tmp_path) == ("asimd", "sve")
    assert cpu_features(tmp_path / "absent") == ()


def test_the_budget_leaves_a_reserve_and_is_that_of_the_gpus_where_there_are_any():
    assert memory_budget_bytes(hardware(64), None) == 63 * GIB
    assert memory_budget_bytes(hardware(4), None) == 4 * GIB - int(0.4 * GIB)
    assert memory_budget_bytes(hardware(64, GPU), None) == 23 * GIB


def test_a_configured_budget_is_never_more_than_the_hardware_has():
    assert memory_budget_bytes(hardware(8), 2 * GIB) == 2 * GIB
    assert memory_budget_bytes(hardware(8), 100 * GIB) == 8 * GIB
