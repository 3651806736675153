"""Conversations that their owner shares."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "conversations",
        sa.Column("shared", sa.Boolean, server_default=sa.false(), nullable=False),
    )
    op.create_index(
        "ix_conversations_shared",
        "conversations",
        ["updated_at"],
        postgresql_where=sa.text("shared"),
    )


def downgrade() -> None:
    op.drop_index("ix_conversations_shared", "conversations")
    op.drop_column("conversations", "shared")
