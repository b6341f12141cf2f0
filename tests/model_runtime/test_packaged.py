import ast
import sys
from pathlib import Path

from helexa.model_runtime.packaged import ECHO_SERVER, XLLAMACPP_SERVER, packaged_servers


def test_every_packaged_server_is_a_file_by_its_absolute_path():
    for path in packaged_servers().values():
        assert Path(path).is_absolute()
        assert Path(path).is_file()


def test_the_llama_server_is_offered_only_where_its_library_is(monkeypatch):
    assert set(packaged_servers()) == {ECHO_SERVER, XLLAMACPP_SERVER}
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    assert set(packaged_servers()) == {ECHO_SERVER}


def test_the_llama_server_imports_nothing_of_helexa():
    """Run under `python -I` it must not depend on where helexa is."""
    source = Path(packaged_servers()[XLLAMACPP_SERVER]).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("helexa")
