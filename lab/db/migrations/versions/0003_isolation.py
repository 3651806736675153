"""Row-level security for every row with an owner, and memories that are found fast under it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OWNED = (
    *("user_configs", "api_keys", "conversations", "runs", "messages", "memories"),
    *("memory_contexts", "memory_terms", "events", "schedules", "eval_runs"),
)


def upgrade() -> None:
    index_memories()
    for table in OWNED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY owner ON {table}"
            " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
        )


def index_memories() -> None:
    """
    Give recall indexes that serve it under a policy.

    A policy is a condition of its own on each table of a statement, and comes before conditions
    whose functions could tell of other rows, as `lower` could: no index serves those.
    """
    op.drop_index("ix_memories_conversation_id_position", "memories")
    op.create_index(
        "ix_memories_conversation_id_owner_id_position",
        "memories",
        ["conversation_id", "owner_id", "position"],
    )
    op.drop_index("ix_memories_owner_id_lower_name", "memories")
    op.add_column(
        "memories",
        sa.Column("speaker", sa.String, sa.Computed("lower((name)::text)", persisted=True)),
    )
    op.create_index("ix_memories_owner_id_speaker", "memories", ["owner_id", "speaker"])


def downgrade() -> None:
    for table in OWNED:
        op.execute(f"DROP POLICY owner ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.drop_index("ix_memories_owner_id_speaker", "memories")
    op.drop_column("memories", "speaker")
    op.create_index(
        "ix_memories_owner_id_lower_name", "memories", ["owner_id", sa.text("lower(name)")]
    )
    op.drop_index("ix_memories_conversation_id_owner_id_position", "memories")
    op.create_index(
        "ix_memories_conversation_id_position", "memories", ["conversation_id", "position"]
    )
