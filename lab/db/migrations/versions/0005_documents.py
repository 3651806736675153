"""Documents, and the passages that they are searched by."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("documents", "document_chunks")


def owned(table: str) -> list[sa.schema.SchemaItem]:
    """Return the columns that every owned row has."""
    return [
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        reference(table, "owner_id", "users"),
    ]


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "documents",
        *owned("documents"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("media_type", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("n_bytes", sa.BigInteger, nullable=False),
        sa.Column("n_characters", sa.Integer, nullable=False),
        sa.Column("n_chunks", sa.Integer, nullable=False),
        sa.Column("embedding_model", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.UniqueConstraint("owner_id", "sha256", name="uq_documents_owner_id_sha256"),
    )
    op.create_index("ix_documents_owner_id", "documents", ["owner_id"])
    op.create_table(
        "document_chunks",
        *owned("document_chunks"),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("text", sa.String, nullable=False),
        sa.Column(
            "words",
            TSVECTOR,
            sa.Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        ),
        sa.Column("embedding", VECTOR(768), nullable=False),
        reference("document_chunks", "document_id", "documents"),
        sa.UniqueConstraint(
            "document_id", "position", name="uq_document_chunks_document_id_position"
        ),
    )
    op.create_index("ix_document_chunks_owner_id", "document_chunks", ["owner_id"])
    # As for memories: an exact search reads every vector, so they stay in the row.
    op.execute("ALTER TABLE document_chunks ALTER COLUMN embedding SET STORAGE PLAIN")
    op.execute("ALTER TABLE document_chunks SET (toast_tuple_target = 4064)")
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY owner ON {table}"
            " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
        )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
