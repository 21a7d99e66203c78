"""The catalog in a SQL database: SQLite on a laptop, PostgreSQL on a cluster."""

from strandline.adapters.sql.catalog import SqlCatalog
from strandline.adapters.sql.engine import open_catalog

__all__ = ["SqlCatalog", "open_catalog"]
