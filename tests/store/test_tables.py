"""The tables by themselves; test_migrate compares them with what the migrations make."""

from helexa.store.tables import AUDIT, KEYS, METADATA


def test_no_column_can_hold_the_text_of_a_key() -> None:
    """S05."""
    assert {column.name for column in KEYS.c} == {
        "id", "project_id", "name", "scopes", "salt", "digest", "created_s", "created_by",
        "expires_s", "revoked_s", "replaces", "changed",
    }  # fmt: skip


def test_every_table_and_constraint_has_a_name_that_migrations_can_use() -> None:
    assert set(METADATA.tables) == {"change_number", "tenants", "projects", "keys", "audit"}
    assert AUDIT.primary_key.name == "pk_audit"
