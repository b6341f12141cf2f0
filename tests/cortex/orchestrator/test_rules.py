"""What can be asked of a model."""

from helexa.cortex.orchestrator.rules import DEFAULT_RULES, REPLICAS_MAX, ModelRules, Priority


def test_a_model_is_loaded_once_ahead_where_nothing_is_said() -> None:
    assert (DEFAULT_RULES.floor, DEFAULT_RULES.ceiling()) == (1, 1)
    assert not DEFAULT_RULES.guaranteed


def test_a_pinned_model_has_a_replica_at_least() -> None:
    assert ModelRules(min_replicas=0, pinned=True).floor == 1


def test_no_maximum_means_as_many_as_fit() -> None:
    assert ModelRules(max_replicas=None).ceiling() == REPLICAS_MAX


def test_classes_are_in_order() -> None:
    """R6.4."""
    assert Priority.LOW < Priority.NORMAL < Priority.HIGH
