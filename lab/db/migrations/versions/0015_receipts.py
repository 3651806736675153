"""Streams keep each receipt of a run, of which the run itself has the last."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "UPDATE events SET data = jsonb_build_object('receipt', runs.receipt) FROM runs"
        " WHERE runs.id = events.run_id AND events.type = 'receipt' AND events.data = '{}'"
    )


def downgrade() -> None:
    op.execute("UPDATE events SET data = '{}' WHERE type = 'receipt'")
