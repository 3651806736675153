"""Runs that shall end, for the lab that works on them to see; threads and runs by their details."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

KEPT = ("conversations", "runs")
"""Tables of what programs keep details with."""


def upgrade() -> None:
    op.add_column("runs", sa.Column("stopping", sa.String, nullable=True))
    for table in KEPT:
        _index_details(table)


def _index_details(table: str) -> None:
    """
    Give a search by details an index that serves it under a policy.

    No index serves a condition under a policy whose operator could tell of other rows, as `@>`
    could. The function looks in the rights of the tables' owner, and keeps the policy itself.
    """
    op.create_index(
        f"ix_{table}_details",
        table,
        ["details"],
        postgresql_using="gin",
        postgresql_ops={"details": "jsonb_path_ops"},
    )
    op.execute(
        f"""
        CREATE FUNCTION {table}_with(jsonb) RETURNS SETOF uuid
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
        BEGIN ATOMIC
            SELECT id FROM {table} WHERE details @> $1
            AND owner_id = nullif(current_setting('lab.owner_id', true), '')::uuid;
        END
        """
    )


def downgrade() -> None:
    for table in KEPT:
        op.execute(f"DROP FUNCTION {table}_with(jsonb)")
        op.drop_index(f"ix_{table}_details", table)
    op.drop_column("runs", "stopping")
