"""Facts that conversations told, with what finds them."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PARENTS = {"owner_id": "users", "conversation_id": "conversations", "summary_id": "summaries"}


def upgrade() -> None:
    op.create_table(
        "facts",
        sa.Column("id", sa.Uuid, nullable=False),
        *(sa.Column(column, sa.Uuid, nullable=False) for column in PARENTS),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("first_position", sa.Integer, nullable=False),
        sa.Column("last_position", sa.Integer, nullable=False),
        sa.Column("about", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column(
            "words",
            TSVECTOR,
            sa.Computed("to_tsvector('english'::regconfig, (text)::text)", persisted=True),
        ),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("embedding", VECTOR(768), nullable=False),
        sa.Column("embedding_model", sa.String, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_facts"),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{parent}.id"], name=f"fk_facts_{column}", ondelete="CASCADE"
            )
            for column, parent in PARENTS.items()
        ),
        sa.UniqueConstraint("summary_id", "position", name="uq_facts_summary_id_position"),
    )
    op.create_index("ix_facts_owner_id_key_said_at", "facts", ["owner_id", "key", "said_at"])
    op.create_index("ix_facts_conversation_id", "facts", ["conversation_id"])
    # As for memories: an exact search reads every vector, so they stay in the row.
    op.execute("ALTER TABLE facts ALTER COLUMN embedding SET STORAGE PLAIN")
    op.execute("ALTER TABLE facts SET (toast_tuple_target = 4064)")
    op.execute("ALTER TABLE facts ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY owner ON facts"
        " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
    )


def downgrade() -> None:
    op.drop_table("facts")
