"""What a spec would change, as text for people. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from helexa.cli.table import clean
from helexa.cli.writing import with_kept

Json = Mapping[str, Any]
_SIGNS: Final = {"add": "+", "change": "~", "remove": "-"}


def changes_text(told: Json) -> str:
    """Return one line for each change, and what would come of it below."""
    changes = told["changes"]
    if not changes:
        return with_kept(told, "nothing changes")
    lines = []
    for change in changes:
        lines.append(clean(f"{_SIGNS.get(change['action'], ' ')} {_what(change)}"))
        if change["effect"]:
            lines.append(clean(f"    {change['effect']}"))
    counts = [
        f"{sum(c['action'] == action for c in changes)} to {action}"
        for action in _SIGNS
        if any(c["action"] == action for c in changes)
    ]
    lines += ["", ", ".join(counts)]
    return with_kept(told, "\n".join(lines))


def _what(change: Json) -> str:
    subject = "policy" if change["subject"] == "policy" else f"model {change['subject']}"
    if not change["field"]:
        return subject
    return f"{subject}: {change['field']} {_value(change['before'])} → {_value(change['after'])}"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
