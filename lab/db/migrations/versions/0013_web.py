"""Pages of the web that were read, their snapshots, and the passages that they are searched by."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("web_pages", "web_chunks")


def create(table: str, *items: sa.schema.SchemaItem) -> None:
    """Make a table of owned rows, with its policy."""
    op.create_table(
        table,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        moment("created_at"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        reference(table, "owner_id", "users"),
        *items,
    )
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY owner ON {table}"
        " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
    )


def moment(name: str) -> sa.Column[datetime]:
    now = sa.text("clock_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=now)


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def upgrade() -> None:
    create(
        "web_pages",
        text("requested_url"),
        text("url"),
        number("status"),
        text("media_type"),
        *(text(name, nullable=True) for name in ("title", "author", "published_on", "language")),
        text("text"),
        text("sha256"),
        number("n_bytes"),
        text("embedding_model"),
        moment("read_at"),
        sa.Column("warc", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint(
            *("owner_id", "requested_url", "url", "sha256"),
            name="uq_web_pages_owner_id_requested_url_url_sha256",
        ),
    )
    op.create_index("ix_web_pages_owner_id_url", "web_pages", ["owner_id", "url"])
    create(
        "web_chunks",
        sa.Column("page_id", sa.Uuid, nullable=False),
        number("position"),
        number("start"),
        number("end"),
        text("text"),
        sa.Column(
            "words",
            TSVECTOR,
            sa.Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        ),
        sa.Column("embedding", VECTOR(768), nullable=False),
        reference("web_chunks", "page_id", "web_pages"),
        sa.UniqueConstraint("page_id", "position", name="uq_web_chunks_page_id_position"),
    )
    op.create_index("ix_web_chunks_owner_id", "web_chunks", ["owner_id"])
    # As for documents: an exact search reads every vector, so they stay in the row.
    op.execute("ALTER TABLE web_chunks ALTER COLUMN embedding SET STORAGE PLAIN")
    op.execute("ALTER TABLE web_chunks SET (toast_tuple_target = 4064)")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
