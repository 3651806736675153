"""Models that are added while the lab runs, and roles, which were settings here and there."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("task", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("revision", sa.String),
        sa.Column("description", sa.String, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
    )
    op.execute(
        """
        UPDATE user_configs SET "values" = ("values" - 'preferences') #- '{summaries,profile}'
            || jsonb_build_object('roles', jsonb_strip_nulls(jsonb_build_object(
                'primary', "values" #> '{preferences,profile}',
                'summary', "values" #> '{summaries,profile}')))
        WHERE "values" ? 'preferences' OR "values" #> '{summaries,profile}' IS NOT NULL
        """
    )


def downgrade() -> None:
    op.drop_table("models")
    op.execute(
        """
        UPDATE user_configs SET "values" = "values" - 'roles' || jsonb_build_object(
            'preferences', jsonb_build_object('profile', "values" #> '{roles,primary}'),
            'summaries', coalesce("values" -> 'summaries', '{}')
                || jsonb_build_object('profile', "values" #> '{roles,summary}'))
        WHERE "values" ? 'roles'
        """
    )
