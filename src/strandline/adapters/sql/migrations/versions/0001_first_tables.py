"""First tables.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAME = sa.String(253).with_variant(sa.String(253, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of 0.1.0."""
    op.create_table(
        "resources",
        sa.Column("kind", sa.String(63), primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("uid", sa.String(36), nullable=False, unique=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("resource_version", _BIG, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("annotations", sa.JSON, nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("status", sa.JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", _BIG, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(63), nullable=False),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_events_object", "events", ["kind", "name", "id"])
    for table, name, digest in (
        ("dataset_versions", "dataset", "digest"),
        ("model_versions", "model", "bundle"),
    ):
        op.create_table(
            table,
            sa.Column(name, _NAME, primary_key=True),
            sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column(digest, sa.String(71), nullable=False),
            sa.Column("record", sa.JSON, nullable=False),
        )
    op.create_table(
        "trials",
        sa.Column("search", _NAME, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("record", sa.JSON, nullable=False),
    )
    op.create_table(
        "metrics",
        sa.Column("search", _NAME, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("metric", sa.String(128), primary_key=True),
        sa.Column("value", sa.Float(53), nullable=True),
    )
    op.create_table(
        "pointers",
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refuse: there is nothing before the first tables."""
    raise NotImplementedError("restore a backup of the catalog instead")
