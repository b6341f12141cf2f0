from helexa.model_runtime.engines.catalogue import ENGINES
from helexa.model_runtime.engines.options import option_problems

FORBIDDEN = (
    *("host", "port", "api", "path", "ssl", "log", "file", "dir", "url", "repo", "rpc", "tool"),
    *("mcp", "agent", "ui", "cors", "prefix_path", "token_file", "lora", "mmproj", "preset"),
)


def test_the_engines_are_known_by_their_own_names():
    assert set(ENGINES) == {"llamacpp", "vllm", "openai", "echo"}
    assert all(name == engine.name for name, engine in ENGINES.items())


def test_no_spawned_engine_has_an_option_that_names_a_file_an_address_or_a_tool():
    """S01: rule R3 of docs/security.md."""
    parsers = {"tool_parser"}  # one of a closed set of names
    for engine in ENGINES.values():
        if not engine.spawns:
            continue
        for spec in engine.options:
            words = spec.name.split("_")
            assert spec.name in parsers or not set(words) & set(FORBIDDEN), spec.name


def test_every_default_is_allowed():
    for engine in ENGINES.values():
        defaults = {s.name: s.default for s in engine.options if s.default is not None}
        assert option_problems(engine.options, defaults) == []
