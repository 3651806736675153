"""Conversations that were forked from others, and what programs keep with them and with runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("forked_from", sa.Uuid, nullable=True))
    op.add_column("conversations", sa.Column("forked_at", sa.Uuid, nullable=True))
    for table in ("conversations", "runs"):
        nothing = sa.text("'{}'::jsonb")
        op.add_column(table, sa.Column("details", JSONB, nullable=False, server_default=nothing))


def downgrade() -> None:
    for table in ("conversations", "runs"):
        op.drop_column(table, "details")
    op.drop_column("conversations", "forked_at")
    op.drop_column("conversations", "forked_from")
