"""Runs that shall end, for the lab that works on them to see."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("stopping", sa.String, nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "stopping")
