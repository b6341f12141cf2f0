"""What a spec would change, for people."""

from helexa.cli.spec_view import changes_text


def test_changes_are_lines_with_their_effect_below() -> None:
    told = {
        "changes": [
            {"action": "change", "subject": "a", "field": "max_replicas", "before": 1,
             "after": None, "effect": ""},
            {"action": "remove", "subject": "b", "field": None, "before": None, "after": None,
             "effect": "is unloaded from n1"},
            {"action": "change", "subject": "policy", "field": "cooldown_s", "before": 300.0,
             "after": 60.0, "effect": "counts at once"},
        ],
        "kept": False,
        "kept_because": "the disk is full",
    }  # fmt: skip
    assert changes_text(told).splitlines() == [
        "~ model a: max_replicas 1 → null",
        "- model b",
        "    is unloaded from n1",
        "~ policy: cooldown_s 300.0 → 60.0",
        "    counts at once",
        "",
        "2 to change, 1 to remove",
        "it does not outlive a restart: the disk is full",
    ]


def test_no_change_is_said() -> None:
    assert changes_text({"changes": []}) == "nothing changes"
