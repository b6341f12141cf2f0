"""Names that are known without asking."""

from helexa.cli.catalogue import catalogue_names


def test_the_small_models_are_known_by_name() -> None:
    assert {"smollm2-135m", "all-minilm-l6-v2"} <= set(catalogue_names())
