"""Names, labels and scopes as they are kept."""

import pytest

from helexa.protocol.ports import Scope
from helexa.store.records import label_problem, name_problem, scopes_of, scopes_text


@pytest.mark.parametrize("name", ["a", "acme", "acme-2.b_c", "0", "a" * 64])
def test_a_name_is_good_in_a_path_a_file_and_a_label(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "-a", ".", "é", "a" * 65, "a\n", "'--"])
def test_other_names_are_refused_with_what_is_allowed(name: str) -> None:
    assert "a-z 0-9" in str(name_problem(name))


@pytest.mark.parametrize("label", ["", " a", "a\n", "a" * 101, "\x1b[2J"])
def test_a_keys_name_is_one_printable_line(label: str) -> None:
    assert "printable" in str(label_problem(label))
    assert label_problem("Alice's laptop, 2nd floor") is None


def test_scopes_survive_being_kept_and_unknown_ones_grant_nothing() -> None:
    every = frozenset(Scope)
    assert scopes_of(scopes_text(every)) == every
    assert scopes_of("inference,fly") == {Scope.INFERENCE}
    assert scopes_of("") == frozenset()
