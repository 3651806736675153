"""Users, chats with their memories, runs, evaluations."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("clock_timestamp()")


def owned(table: str) -> list[sa.schema.SchemaItem]:
    """Return the columns that every owned row has."""
    return [
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        reference(table, "owner_id", "users"),
    ]


def reference(
    table: str, column: str, target: str, ondelete: str = "CASCADE"
) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete=ondelete)


def index(table: str, *columns: str) -> None:
    """Create an index with its conventional name."""
    op.create_index("_".join(["ix", table, *columns]), table, columns)


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    create_users()
    create_chats()
    create_memories()
    create_events()
    create_evaluations()


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("groups", JSONB, nullable=False),
        sa.Column("password_hash", sa.String),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "user_configs",
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("values", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("owner_id", name="pk_user_configs"),
        reference("user_configs", "owner_id", "users"),
    )
    op.create_table(
        "api_keys",
        *owned("api_keys"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("prefix", sa.String, nullable=False),
        sa.Column("secret_hash", sa.String, nullable=False),
        sa.Column("scopes", JSONB, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.UniqueConstraint("secret_hash", name="uq_api_keys_secret_hash"),
    )
    index("api_keys", "owner_id")


def create_chats() -> None:
    op.create_table(
        "conversations",
        *owned("conversations"),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("updated_at", TIME, nullable=False, server_default=NOW),
        sa.Column("next_position", sa.Integer, nullable=False),
        sa.Column("n_messages", sa.Integer, nullable=False),
    )
    index("conversations", "owner_id")
    index("conversations", "owner_id", "updated_at")
    op.create_table(
        "runs",
        *owned("runs"),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("conversation_id", sa.Uuid),
        sa.Column("profile", sa.String),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("usage", JSONB),
        sa.Column("receipt", JSONB),
        sa.Column("error", sa.String),
        sa.Column("finished_at", TIME),
        reference("runs", "conversation_id", "conversations"),
    )
    index("runs", "owner_id")
    index("runs", "status")
    index("runs", "conversation_id")
    op.create_table(
        "messages",
        *owned("messages"),
        sa.Column("conversation_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("parts", JSONB, nullable=False),
        sa.Column("run_id", sa.Uuid),
        reference("messages", "conversation_id", "conversations"),
        reference("messages", "run_id", "runs", ondelete="SET NULL"),
        sa.UniqueConstraint(
            "conversation_id", "position", name="uq_messages_conversation_id_position"
        ),
    )
    index("messages", "owner_id")
    index("messages", "run_id")


def create_memories() -> None:
    op.create_table(
        "memories",
        *owned("memories"),
        sa.Column("conversation_id", sa.Uuid, nullable=False),
        sa.Column("message_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("embedding", VECTOR(768), nullable=False),
        reference("memories", "conversation_id", "conversations"),
        reference("memories", "message_id", "messages"),
        sa.UniqueConstraint("message_id", name="uq_memories_message_id"),
    )
    index("memories", "owner_id")
    index("memories", "conversation_id")
    # An exact search reads every vector of the owner: PLAIN keeps them in the row. Two rows share
    # a page of 8 KB; texts move out only where that would not fit.
    op.execute("ALTER TABLE memories ALTER COLUMN embedding SET STORAGE PLAIN")
    op.execute("ALTER TABLE memories SET (toast_tuple_target = 4064)")


def create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("data", JSONB, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=NOW),
        sa.PrimaryKeyConstraint("run_id", "position", name="pk_events"),
        reference("events", "run_id", "runs"),
        reference("events", "owner_id", "users"),
    )
    index("events", "owner_id")


def create_evaluations() -> None:
    op.create_table(
        "schedules",
        *owned("schedules"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("cron", sa.String, nullable=False),
        sa.Column("evaluation", sa.String, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("last_run_at", TIME),
        sa.Column("next_run_at", TIME),
        sa.UniqueConstraint("owner_id", "name", name="uq_schedules_owner_id_name"),
    )
    index("schedules", "owner_id")
    op.create_table(
        "eval_runs",
        *owned("eval_runs"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("notebook", sa.String, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.Column("executed_notebook", sa.String),
        sa.Column("schedule_id", sa.Uuid),
        sa.Column("cells_done", sa.Integer, nullable=False),
        sa.Column("cells_total", sa.Integer, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        reference("eval_runs", "schedule_id", "schedules", ondelete="SET NULL"),
    )
    index("eval_runs", "owner_id")
    index("eval_runs", "schedule_id")


def downgrade() -> None:
    for table in (
        *("eval_runs", "schedules", "events", "memories", "messages"),
        *("runs", "conversations", "api_keys", "user_configs", "users"),
    ):
        op.drop_table(table)
