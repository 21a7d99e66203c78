"""Tell resources whose uid comes from an apiserver from those that were made here.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what is there was made here."""
    with op.batch_alter_table("resources") as table:
        table.add_column(
            sa.Column("adopted", sa.Boolean, nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    """Refuse: rows would lose whose they are."""
    raise NotImplementedError("restore a backup of the catalog instead")
