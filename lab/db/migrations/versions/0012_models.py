"""Roles of profiles, which were settings here and there."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
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
    op.execute(
        """
        UPDATE user_configs SET "values" = "values" - 'roles' || jsonb_build_object(
            'preferences', jsonb_build_object('profile', "values" #> '{roles,primary}'),
            'summaries', coalesce("values" -> 'summaries', '{}')
                || jsonb_build_object('profile', "values" #> '{roles,summary}'))
        WHERE "values" ? 'roles'
        """
    )
