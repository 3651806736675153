"""Which lab works on a run."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("runs", "eval_runs")
OURS = "(NULLIF(current_setting('lab.number'::text, true), ''::text))::integer"


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("lab_number", sa.Integer, nullable=True))
        op.alter_column(table, "lab_number", server_default=sa.text(OURS))


def downgrade() -> None:
    for table in TABLES:
        op.drop_column(table, "lab_number")
