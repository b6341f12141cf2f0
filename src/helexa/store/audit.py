"""Reading the audit log. It is written by `Change.note`, and the database lets nobody alter it."""

import json

from sqlalchemy import Connection, select

from helexa.store.records import AuditEntry
from helexa.store.tables import AUDIT


def audit_views(
    connection: Connection, limit: int, before: int | None, subject: str | None
) -> list[AuditEntry]:
    """Return entries of the audit log, newest first; those with smaller ids than `before`."""
    wanted = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
    if before is not None:
        wanted = wanted.where(AUDIT.c.id < before)
    if subject is not None:
        wanted = wanted.where(AUDIT.c.subject == subject)
    rows = connection.execute(wanted).mappings()
    return [AuditEntry(**{**row, "detail": json.loads(row["detail"])}) for row in rows]
