"""What a name may look like."""

import pytest

from helexa.protocol import ids


@pytest.mark.parametrize("name", ["m", "smollm2-135m", "org/model:q4_k_m", "a" * 128, "v1.0@main"])
def test_ordinary_model_names_are_accepted(name: str) -> None:
    """R0.17: ModelId has one spelling everywhere."""
    assert ids.model_id_problem(name) is None


@pytest.mark.parametrize(
    "name", ["", "-x", "/x", "a" * 129, "a b", "a\n", "../x", "a/../b", "a//b", "é", "a\x00"]
)
def test_other_model_names_are_refused_with_a_reason(name: str) -> None:
    assert "model id" in (ids.model_id_problem(name) or "")


@pytest.mark.parametrize("name", ["", "a/b", "a" * 65, "a:b", "\n"])
def test_bad_neuron_names_are_refused(name: str) -> None:
    assert ids.neuron_id_problem("rack2.box-1") is None
    assert "neuron id" in (ids.neuron_id_problem(name) or "")


def test_request_ids_are_short_and_plain() -> None:
    assert ids.is_request_id("req-1.2:3_4")
    assert not any(ids.is_request_id(text) for text in ("", "a b", "x" * 129, "a\r\nb", "é"))
