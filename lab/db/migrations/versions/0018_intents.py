"""What the messages of people want."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("messages", sa.Column("intent", sa.String, nullable=True))
    op.add_column("messages", sa.Column("intent_confidence", sa.Float, nullable=True))


def downgrade() -> None:
    op.drop_column("messages", "intent_confidence")
    op.drop_column("messages", "intent")
