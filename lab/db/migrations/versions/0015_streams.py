"""Streams that are stored whole, and runs that are gone on with."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("later", JSONB, nullable=True))
    op.add_column("runs", sa.Column("asked", JSONB, nullable=True))
    op.add_column("runs", sa.Column("resumes", sa.Uuid, nullable=True))
    op.create_index("ix_runs_resumes", "runs", ["resumes"])


def downgrade() -> None:
    """Leave of events that share a row the first, as before nothing else could be read."""
    op.drop_column("events", "later")
    op.drop_index("ix_runs_resumes", "runs")
    op.drop_column("runs", "asked")
    op.drop_column("runs", "resumes")
