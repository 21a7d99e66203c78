"""Alembic runs this: it migrates over the connection that `open_catalog` hands in."""

from __future__ import annotations

from alembic import context

from strandline.adapters.sql.schema import metadata

connection = context.config.attributes["connection"]
# Batch mode: SQLite cannot alter most things in place.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
