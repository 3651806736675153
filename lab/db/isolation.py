"""
Row-level security: the second line behind the owner filter of the stores.

Every table with an owner has a policy: a row is there for the user whom the setting `lab.owner_id`
names, and for nobody where it is not set. PostgreSQL holds its policies neither against superusers
nor against the owner of a table, and the lab connects as one or both; so what is done for a user is
done in the role `pg_database_owner`. Every PostgreSQL has it, nobody logs in as it, its rights are
those given to it in this one database, and the owner of the database may take it on without being
a member: there is no role to make, to name, or to carry along in a backup.
"""

from uuid import UUID

from psycopg import AsyncConnection
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.tables import OWNED
from lab.errors import DatabaseError

_ENTER = text(
    "SELECT set_config('lab.owner_id', :owner, true), set_config('role', 'pg_database_owner', true)"
)
_ADMIT = f"""
    DO $$ BEGIN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO pg_database_owner', current_schema);
    END $$;
    GRANT SELECT, INSERT, UPDATE, DELETE
    ON {", ".join(table.name for table in OWNED)} TO pg_database_owner
    """
_REFUSED = """
    SELECT format('ALTER DATABASE %I OWNER TO %I', current_database(), current_user)
    WHERE NOT pg_has_role('pg_database_owner', 'MEMBER')
    """
_CLOSED = text(
    """
    SELECT tablename FROM pg_tables t WHERE schemaname = current_schema AND rowsecurity AND ARRAY(
        SELECT qual FROM pg_policies p
        WHERE p.schemaname = t.schemaname AND p.tablename = t.tablename
    ) = ARRAY[:rule]
    """
)
RULE = "(owner_id = (NULLIF(current_setting('lab.owner_id'::text, true), ''::text))::uuid)"
"""The policy of each table, as PostgreSQL writes it."""


async def enter(session: AsyncSession, owner_id: UUID) -> None:
    """Leave only the rows of one user in sight until the transaction of the session ends."""
    await session.execute(_ENTER, {"owner": str(owner_id)})


async def admit(connection: AsyncConnection) -> None:
    """Give the role of users its rights: none are in a backup, and they may be given again."""
    await connection.execute(_ADMIT.encode())


async def require_ownership(connection: AsyncConnection, place: str) -> None:
    """Raise `DatabaseError` when the lab's login may not take on the role of users."""
    found = await (await connection.execute(_REFUSED)).fetchone()
    if found is not None:
        raise DatabaseError(
            f"The {place} belongs to another user, and only its owner can keep what belongs to "
            f"different people apart; let an administrator run `{found[0]}`."
        )


def unprotected(connection: Connection) -> list[str]:
    """Return the tables with an owner whose policy is missing, different, or not in force."""
    closed = set(connection.scalars(_CLOSED, {"rule": RULE}))
    return [table.name for table in OWNED if table.name not in closed]
