"""Who speaks by name; words, places and contexts of memories, for recall by more than meaning."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def upgrade() -> None:
    op.add_column("messages", sa.Column("name", sa.String))
    place_memories()
    op.create_table(
        "memory_contexts",
        sa.Column("memory_id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("embedding", VECTOR(768), nullable=False),
        sa.PrimaryKeyConstraint("memory_id", name="pk_memory_contexts"),
        reference("memory_contexts", "memory_id", "memories"),
        reference("memory_contexts", "owner_id", "users"),
    )
    op.create_index("ix_memory_contexts_owner_id", "memory_contexts", ["owner_id"])
    op.execute("ALTER TABLE memory_contexts ALTER COLUMN embedding SET STORAGE PLAIN")
    post_terms()


def place_memories() -> None:
    """Give memories the place of their message."""
    op.add_column("memories", sa.Column("position", sa.Integer))
    op.add_column("memories", sa.Column("name", sa.String))
    op.execute(
        "UPDATE memories SET position = messages.position FROM messages"
        " WHERE messages.id = memories.message_id"
    )
    op.alter_column("memories", "position", nullable=False)
    op.drop_index("ix_memories_conversation_id", "memories")
    op.create_index(
        "ix_memories_conversation_id_position", "memories", ["conversation_id", "position"]
    )
    op.create_index(
        "ix_memories_owner_id_lower_name", "memories", ["owner_id", sa.text("lower(name)")]
    )


def post_terms() -> None:
    """Write down which words stand in which memory."""
    op.create_table(
        "memory_terms",
        sa.Column("memory_id", sa.Uuid, nullable=False),
        sa.Column("term", sa.String, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("conversation_id", sa.Uuid, nullable=False),
        sa.Column("n_times", sa.Integer, nullable=False),
        sa.Column("n_terms", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("memory_id", "term", name="pk_memory_terms"),
        reference("memory_terms", "memory_id", "memories"),
        reference("memory_terms", "owner_id", "users"),
    )
    op.execute(
        """
        INSERT INTO memory_terms (memory_id, term, owner_id, conversation_id, n_times, n_terms)
        SELECT id, lexeme, owner_id, conversation_id, cardinality(positions),
            sum(cardinality(positions)) OVER (PARTITION BY id)
        FROM memories, unnest(to_tsvector('english', left(text, 200000)))
        """
    )
    op.create_index(
        "ix_memory_terms_owner_id_term",
        "memory_terms",
        ["owner_id", "term"],
        postgresql_include=["conversation_id", "memory_id", "n_times", "n_terms"],
    )


def downgrade() -> None:
    op.drop_table("memory_terms")
    op.drop_table("memory_contexts")
    op.drop_index("ix_memories_owner_id_lower_name", "memories")
    op.drop_index("ix_memories_conversation_id_position", "memories")
    op.create_index("ix_memories_conversation_id", "memories", ["conversation_id"])
    op.drop_column("memories", "name")
    op.drop_column("memories", "position")
    op.drop_column("messages", "name")
