"""Streams that are stored whole, runs that are gone on with, and documents of programs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("events", sa.Column("later", JSONB, nullable=True))
    op.add_column("runs", sa.Column("asked", JSONB, nullable=True))
    op.add_column(
        "runs",
        sa.Column("on_disconnect", sa.String, server_default="cancel", nullable=False),
    )
    op.add_column("runs", sa.Column("resumes", sa.Uuid, nullable=True))
    op.create_index("ix_runs_resumes", "runs", ["resumes"])
    op.create_index(
        "uq_runs_resumes_open",
        "runs",
        ["resumes"],
        unique=True,
        postgresql_where=sa.text("status IN ('queued', 'running')"),
    )
    create_store()


def create_store() -> None:
    """Make the table of the documents that programs keep for a user, with its policy."""
    now = sa.text("clock_timestamp()")
    op.create_table(
        "store_items",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("namespace", ARRAY(sa.String), nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("value", JSONB, nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name="pk_store_items"),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["users.id"], name="fk_store_items_owner_id", ondelete="CASCADE"
        ),
        sa.UniqueConstraint(
            "owner_id", "namespace", "key", name="uq_store_items_owner_id_namespace_key"
        ),
    )
    op.create_index("ix_store_items_owner_id", "store_items", ["owner_id"])
    op.execute("ALTER TABLE store_items ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY owner ON store_items"
        " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
    )


def downgrade() -> None:
    """Leave of events that share a row the first, as before nothing else could be read."""
    op.drop_table("store_items")
    op.drop_column("events", "later")
    op.drop_index("uq_runs_resumes_open", "runs")
    op.drop_index("ix_runs_resumes", "runs")
    op.drop_column("runs", "asked")
    op.drop_column("runs", "on_disconnect")
    op.drop_column("runs", "resumes")
