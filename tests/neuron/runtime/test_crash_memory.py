"""The query of death."""

from helexa.neuron.runtime.crash_memory import BLOCK_S, CrashMemory


def test_one_crash_blocks_nothing():
    memory = CrashMemory()
    assert not memory.crashed("r", "m", b"b", "m#1", 0.0)
    assert not memory.is_blocked("r", "m", b"b", 1.0)


def test_a_second_crash_of_another_process_blocks_the_request_and_its_body():
    memory = CrashMemory()
    memory.crashed("r", "m", b"b", "m#1", 0.0)
    assert memory.crashed("r", "m", b"b", "m#2", 1.0)
    assert memory.is_blocked("r", "m", b"other", 2.0)
    assert memory.is_blocked("new", "m", b"b", 2.0)
    assert not memory.is_blocked("new", "m2", b"b", 2.0)
    assert not memory.is_blocked("new", "m", b"other", 2.0)


def test_many_that_died_together_are_one_crash():
    memory = CrashMemory()
    for _ in range(32):
        assert not memory.crashed("r", "m", b"same body", "m#1", 0.0)
    assert not memory.is_blocked("r", "m", b"same body", 0.0)


def test_a_block_ends():
    memory = CrashMemory()
    memory.crashed("r", "m", b"b", "m#1", 0.0)
    memory.crashed("r", "m", b"b", "m#2", 1.0)
    assert memory.is_blocked("r", "m", b"b", 0.9 + BLOCK_S)
    assert not memory.is_blocked("r", "m", b"b", 1.0 + BLOCK_S)
    assert len(memory) == 0


def test_what_is_remembered_is_bounded():
    memory = CrashMemory(entries_max=100)
    for number in range(1000):
        memory.crashed(f"r{number}", "m", b"%d" % number, "m#1", 0.0)
    assert len(memory) <= 100
