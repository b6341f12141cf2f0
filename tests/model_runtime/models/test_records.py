import os
from pathlib import Path

import pytest

from helexa.model_runtime.models.records import Records, untouched

DIGEST = "a" * 64


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Records, Path, str]:
    path = tmp_path / "hf" / "a.gguf"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    records = Records(tmp_path)
    records.write("hf:o/r/a.gguf", path, DIGEST)
    return records, path, records.key("hf:o/r/a.gguf")


def test_a_record_is_read_back_and_listed_by_path(kept: tuple[Records, Path, str]) -> None:
    records, path, key = kept
    record = records.read(key)
    assert record is not None
    assert (record.source, record.path, record.sha256) == ("hf:o/r/a.gguf", "hf/a.gguf", DIGEST)
    assert records.all() == {"hf/a.gguf": record}
    assert untouched(record, path)
    records.forget(key)
    assert records.read(key) is None


def test_any_change_of_the_file_is_seen_even_with_its_dates_put_back(
    kept: tuple[Records, Path, str],
) -> None:
    records, path, key = kept
    record = records.read(key)
    assert record is not None
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert not untouched(record, path)


def test_a_replaced_linked_or_missing_file_is_seen(kept: tuple[Records, Path, str]) -> None:
    records, path, key = kept
    record = records.read(key)
    assert record is not None
    other = path.with_name("other")
    path.rename(other)
    assert not untouched(record, path)
    path.symlink_to(other)
    assert not untouched(record, path)


def test_every_damage_of_a_record_is_noticed(
    kept: tuple[Records, Path, str], tmp_path: Path
) -> None:
    records, _, key = kept
    file = next(tmp_path.glob(".helexa/records/*.json"))
    good = file.read_bytes()
    whole = records.read(key)
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert records.read(key) is None
        file.write_bytes(good[:place])
        assert records.read(key) is None
    file.write_bytes(good)
    assert records.read(key) == whole
