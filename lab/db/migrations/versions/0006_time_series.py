"""What was used, one row a generation; events and usage month by month."""

import re

import sqlalchemy as sa
import structlog
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIMESCALE = (2, 24)
"""The first TimescaleDB that keeps all it promises for tables partitioned by UUIDs of version 7."""
OWNER = "owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid"

log = structlog.get_logger(__name__)


def upgrade() -> None:
    if has_timescale():
        create_usage()
        for table, column in (("events", "run_id"), ("usage", "id")):
            op.execute(
                f"SELECT create_hypertable('{table}', by_range('{column}', INTERVAL '1 month'),"
                " create_default_indexes => false, migrate_data => true)"
            )
        return
    create_usage("RANGE (id)")
    op.execute("CREATE TABLE usage_other PARTITION OF usage DEFAULT")
    set_events_aside()
    create_events("RANGE (run_id)")
    op.execute("ALTER TABLE events ATTACH PARTITION events_other DEFAULT")


def has_timescale() -> bool:
    """Return whether the database has a TimescaleDB that is new enough; write down what it has."""
    version = op.get_bind().scalar(
        sa.text("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    )
    fits = tuple(map(int, re.findall(r"\d+", version or "")[:2])) >= TIMESCALE
    log.info("events and usage", timescaledb=version, kept_in="chunks" if fits else "partitions")
    return fits


def set_events_aside() -> None:
    """
    Make room for a table of partitions, of which the former one becomes the default.

    No row is copied here; `lab.db.time_series` sorts them into months. Partitions need neither
    policy nor rights: users reach them through their table, and not at all by their own names.
    """
    op.execute("DROP POLICY owner ON events")
    op.execute("ALTER TABLE events DISABLE ROW LEVEL SECURITY")
    op.execute("REVOKE ALL ON events FROM pg_database_owner")
    op.rename_table("events", "events_other")
    op.execute("ALTER INDEX pk_events RENAME TO pk_events_other")
    op.execute("ALTER INDEX ix_events_owner_id RENAME TO ix_events_other_owner_id")


def create_events(partition_by: str | None = None) -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        time(),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_events"),
        reference("events", "run_id", "runs"),
        reference("events", "owner_id", "users"),
        postgresql_partition_by=partition_by,
    )
    op.create_index("ix_events_owner_id", "events", ["owner_id"])
    close("events")


def create_usage(partition_by: str | None = None) -> None:
    op.create_table(
        "usage",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        time(),
        sa.Column("run_id", sa.Uuid),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("profile", sa.String, nullable=False),
        sa.Column("prompt_tokens", sa.Integer, nullable=False),
        sa.Column("completion_tokens", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_usage"),
        reference("usage", "owner_id", "users"),
        postgresql_partition_by=partition_by,
    )
    op.create_index("ix_usage_owner_id_id", "usage", ["owner_id", "id"])
    close("usage")


def time() -> sa.Column[object]:
    """Return the column that says when a row was written."""
    now = sa.text("clock_timestamp()")
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now)


def reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete="CASCADE")


def close(table: str) -> None:
    """Show rows to their owner only."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY owner ON {table} USING ({OWNER})")


def downgrade() -> None:
    op.drop_table("usage")
    op.execute("CREATE TEMP TABLE former ON COMMIT DROP AS SELECT * FROM events")
    op.drop_table("events")
    create_events()
    op.execute("INSERT INTO events SELECT * FROM former")
