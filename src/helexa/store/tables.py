"""The tables as SQLAlchemy knows them; the migrations make them, and a test compares the two."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

CHANGE_NUMBER: Final = Table(
    "change_number",
    METADATA,
    Column("number", BigInteger, nullable=False),
)
"""One row: the number of the last change. Every change raises it first, so changes are in one
order, also between processes, and whoever reads sees whole changes."""

TENANTS: Final = Table(
    "tenants",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("created_s", Float(53), nullable=False),
    Column("disabled_s", Float(53)),
    Column("changed", BigInteger, nullable=False),
    Index(None, "changed"),
)

PROJECTS: Final = Table(
    "projects",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("created_s", Float(53), nullable=False),
    Column("disabled_s", Float(53)),
    Column("changed", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "name"),
    Index(None, "changed"),
)

KEYS: Final = Table(
    "keys",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("project_id", ForeignKey("projects.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("scopes", String(200), nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created_s", Float(53), nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("expires_s", Float(53)),
    Column("revoked_s", Float(53)),
    Column("replaces", ForeignKey("keys.id")),
    Column("changed", BigInteger, nullable=False),
    Index(None, "project_id"),
    Index(None, "changed"),
)

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at_s", Float(53), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("cause", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    Index(None, "subject"),
)
