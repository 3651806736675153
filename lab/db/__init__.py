"""What the lab remembers: PostgreSQL with pgvector, one store for each kind of row."""

from lab.db.database import Database
from lab.db.embedded import EmbeddedPostgres
from lab.db.migrations import upgrade
from lab.db.opening import embedded_server, open_database
from lab.db.recall import Commonness
from lab.db.stores import Stores

__all__ = [
    "Commonness",
    "Database",
    "EmbeddedPostgres",
    "Stores",
    "embedded_server",
    "open_database",
    "upgrade",
]
