"""Summaries of conversations, and what each was made from."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "summaries",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("conversation_id", sa.Uuid, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("first_position", sa.Integer, nullable=False),
        sa.Column("last_position", sa.Integer, nullable=False),
        sa.Column("style", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("n_tokens", sa.Integer, nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.clock_timestamp(),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_summaries"),
        reference("summaries", "owner_id", "users"),
        reference("summaries", "conversation_id", "conversations"),
        sa.UniqueConstraint(
            "conversation_id",
            "level",
            "first_position",
            name="uq_summaries_conversation_id_level_first_position",
        ),
        sa.CheckConstraint("level BETWEEN 1 AND 4", name="ck_summaries_level"),
        sa.CheckConstraint("first_position <= last_position", name="ck_summaries_positions"),
    )
    op.create_index("ix_summaries_owner_id", "summaries", ["owner_id"])
    op.create_table(
        "summary_sources",
        sa.Column("summary_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("memory_id", sa.Uuid),
        sa.Column("source_summary_id", sa.Uuid),
        sa.PrimaryKeyConstraint("summary_id", "position", name="pk_summary_sources"),
        reference("summary_sources", "summary_id", "summaries"),
        reference("summary_sources", "owner_id", "users"),
        reference("summary_sources", "memory_id", "memories"),
        reference("summary_sources", "source_summary_id", "summaries"),
        sa.CheckConstraint(
            "num_nonnulls(memory_id, source_summary_id) = 1", name="ck_summary_sources_one"
        ),
    )
    for column in ("owner_id", "memory_id", "source_summary_id"):
        op.create_index(f"ix_summary_sources_{column}", "summary_sources", [column])
    for table in ("summaries", "summary_sources"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY owner ON {table}"
            " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
        )


def downgrade() -> None:
    op.drop_table("summary_sources")
    op.drop_table("summaries")
