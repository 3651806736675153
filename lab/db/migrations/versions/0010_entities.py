"""Files, images, model profiles, dynamic tools, todos, and research with what was found for it."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = (
    *("files", "images", "model_profiles", "dynamic_tools", "todos"),
    *("research_tasks", "research_steps", "search_results"),
)


def create(table: str, *items: sa.schema.SchemaItem) -> None:
    """Make a table of owned rows, with its policy."""
    op.create_table(
        table,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        reference(table, "owner_id", "users"),
        *items,
    )
    op.create_index(f"ix_{table}_owner_id", table, ["owner_id"])
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY owner ON {table}"
        " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
    )


def reference(
    table: str, column: str, target: str, ondelete: str = "CASCADE"
) -> sa.ForeignKeyConstraint:
    """Return a foreign key to the id of another table."""
    name = f"fk_{table}_{column}"
    return sa.ForeignKeyConstraint([column], [f"{target}.id"], name=name, ondelete=ondelete)


def text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String, nullable=nullable)


def version() -> sa.Column[int]:
    """Return the column that changes of two writers are told apart by."""
    return sa.Column("version", sa.Integer, nullable=False)


def unique_name(table: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint("owner_id", "name", name=f"uq_{table}_owner_id_name")


def upgrade() -> None:
    create(
        "files",
        text("name", nullable=True),
        text("media_type"),
        text("sha256"),
        sa.Column("n_bytes", sa.Integer, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    create(
        "images",
        sa.Column("file_id", sa.Uuid, nullable=False),
        sa.Column("source_id", sa.Uuid),
        text("prompt"),
        text("model"),
        sa.Column("parameters", JSONB, nullable=False),
        reference("images", "file_id", "files"),
        reference("images", "source_id", "images", "SET NULL"),
        sa.UniqueConstraint("file_id", name="uq_images_file_id"),
    )
    op.create_index("ix_images_source_id", "images", ["source_id"])
    create(
        "model_profiles",
        version(),
        sa.Column("profile", JSONB, nullable=False),
        sa.Column(
            "name", sa.String, sa.Computed("profile ->> 'id'::text", persisted=True), nullable=False
        ),
        unique_name("model_profiles"),
    )
    create(
        "dynamic_tools",
        version(),
        text("name"),
        text("description"),
        sa.Column("parameters", JSONB, nullable=False),
        text("code"),
        sa.Column("embedding", VECTOR(768), nullable=False),
        text("embedding_model"),
        sa.Column("approved_at", sa.DateTime(timezone=True)),
        unique_name("dynamic_tools"),
    )
    create("todos", version(), text("text"), text("status"), *of_conversation("todos"))
    create_research()
    for table in ("todos", "research_tasks"):
        op.create_index(f"ix_{table}_conversation_id", table, ["conversation_id"])


def of_conversation(table: str) -> tuple[sa.schema.SchemaItem, ...]:
    """Return the column for the conversation that a row may belong to."""
    return (
        sa.Column("conversation_id", sa.Uuid),
        reference(table, "conversation_id", "conversations"),
    )


def create_research() -> None:
    create(
        "research_tasks",
        version(),
        text("question"),
        text("status"),
        text("report", nullable=True),
        text("error", nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        *of_conversation("research_tasks"),
    )
    create(
        "research_steps",
        sa.Column("task_id", sa.Uuid, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        text("kind"),
        text("question"),
        text("status"),
        text("result", nullable=True),
        text("error", nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        reference("research_steps", "task_id", "research_tasks"),
        sa.UniqueConstraint("task_id", "position", name="uq_research_steps_task_id_position"),
    )
    create(
        "search_results",
        sa.Column("step_id", sa.Uuid),
        text("query"),
        text("provider"),
        sa.Column("position", sa.Integer, nullable=False),
        text("url"),
        text("title"),
        text("snippet"),
        text("text", nullable=True),
        reference("search_results", "step_id", "research_steps"),
    )
    op.create_index("ix_search_results_step_id", "search_results", ["step_id"])


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
