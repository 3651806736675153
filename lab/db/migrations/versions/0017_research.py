"""Research that is worked on: how far it goes, which pages it read, and what its reports cite."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TASK_COLUMNS = ("profile", "offline", "seed", "limits", "run_id")
"""Added to `research_tasks`."""


def upgrade() -> None:
    task = "research_tasks"
    op.add_column(task, sa.Column("profile", sa.String))
    op.add_column(task, sa.Column("offline", sa.Boolean, nullable=False, server_default=sa.false()))
    zero, nothing = sa.text("0"), sa.text("'{}'::jsonb")
    op.add_column(task, sa.Column("seed", sa.BigInteger, nullable=False, server_default=zero))
    op.add_column(task, sa.Column("limits", JSONB, nullable=False, server_default=nothing))
    op.add_column(task, sa.Column("run_id", sa.Uuid))
    op.create_index("ix_research_tasks_status", task, ["status"])
    op.add_column("search_results", sa.Column("page_id", sa.Uuid))
    op.add_column("search_results", sa.Column("failure", sa.String))
    op.create_foreign_key(
        *("fk_search_results_page_id", "search_results", "web_pages", ["page_id"], ["id"]),
        ondelete="SET NULL",
    )
    op.create_index("ix_search_results_page_id", "search_results", ["page_id"])
    create_citations()


def create_citations() -> None:
    """Make the table of what reports cite, with its policy."""
    table, now = "research_citations", sa.text("clock_timestamp()")
    op.create_table(
        table,
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("owner_id", sa.Uuid, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("task_id", sa.Uuid, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("position", "number")),
        sa.Column("claim", sa.String, nullable=False),
        sa.Column("page_id", sa.Uuid),
        *(sa.Column(name, sa.String, nullable=False) for name in ("url", "title", "quote")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("start", "end")),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("reason", sa.String),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete=ondelete
            )
            for column, target, ondelete in (
                ("owner_id", "users", "CASCADE"),
                ("task_id", "research_tasks", "CASCADE"),
                ("page_id", "web_pages", "SET NULL"),
            )
        ),
        sa.UniqueConstraint("task_id", "position", name=f"uq_{table}_task_id_position"),
    )
    for column in ("owner_id", "page_id"):
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY owner ON {table}"
        " USING (owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid)"
    )


def downgrade() -> None:
    op.drop_table("research_citations")
    op.drop_constraint("fk_search_results_page_id", "search_results")
    op.drop_column("search_results", "page_id")
    op.drop_column("search_results", "failure")
    for column in TASK_COLUMNS:
        op.drop_column("research_tasks", column)
    op.drop_index("ix_research_tasks_status", "research_tasks")
