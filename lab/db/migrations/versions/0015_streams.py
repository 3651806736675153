"""Events of one type in one row: the text of an answer is an event a token."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("later", JSONB, nullable=True))


def downgrade() -> None:
    """Leave of events that share a row the first, as before nothing else could be read."""
    op.drop_column("events", "later")
