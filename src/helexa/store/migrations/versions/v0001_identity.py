"""Tenants, projects, keys and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KEPT = "the audit log is append-only"


def upgrade() -> None:
    """Make the tables, the default tenant and project, and the guard of the audit log."""
    numbers = op.create_table("change_number", sa.Column("number", sa.BigInteger, nullable=False))
    op.bulk_insert(numbers, [{"number": 0}])
    _tenants_and_projects()
    _keys()
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer),
        sa.Column("at_s", sa.Float(53), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("cause", sa.String(200), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_subject", "audit", ["subject"])
    if op.get_bind().dialect.name == "sqlite":
        for word in ("update", "delete"):
            op.execute(
                f"CREATE TRIGGER audit_no_{word} BEFORE {word.upper()} ON audit"
                f" BEGIN SELECT RAISE(ABORT, '{_KEPT}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION '{_KEPT}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()"
    )


def _tenants_and_projects() -> None:
    tenants = op.create_table(
        "tenants",
        sa.Column("id", sa.Integer),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_s", sa.Float(53), nullable=False),
        sa.Column("disabled_s", sa.Float(53)),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tenants"),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.Integer),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("created_s", sa.Float(53), nullable=False),
        sa.Column("disabled_s", sa.Float(53)),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_projects"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_projects_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_projects_tenant_id"),
    )
    for table in ("tenants", "projects"):
        op.create_index(f"ix_{table}_changed", table, ["changed"])
    now = sa.text("CAST(strftime('%s', 'now') AS REAL)")
    if op.get_bind().dialect.name != "sqlite":
        now = sa.text("extract(epoch FROM now())")
    first = {"name": "default", "created_s": now, "changed": 0}
    # Without an id of its own, so that PostgreSQL's sequence counts it.
    op.execute(tenants.insert().values(first))
    op.execute(projects.insert().values(first | {"tenant_id": 1}))


def _keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(16)),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("scopes", sa.String(200), nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("created_s", sa.Float(53), nullable=False),
        sa.Column("created_by", sa.String(200), nullable=False),
        sa.Column("expires_s", sa.Float(53)),
        sa.Column("revoked_s", sa.Float(53)),
        sa.Column("replaces", sa.String(16)),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_keys"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_keys_project_id"),
        sa.ForeignKeyConstraint(["replaces"], ["keys.id"], name="fk_keys_replaces"),
    )
    for column in ("project_id", "changed"):
        op.create_index(f"ix_keys_{column}", "keys", [column])
