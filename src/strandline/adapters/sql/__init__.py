"""The catalog in a SQL database: SQLite on a laptop, PostgreSQL on a cluster."""

from strandline.adapters.sql.catalog import SqlCatalog
from strandline.adapters.sql.engine import Database, is_postgres, open_catalog

__all__ = ["Database", "SqlCatalog", "is_postgres", "open_catalog"]
