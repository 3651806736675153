"""Alembic's entry point: run the steps on the connection that the caller opened."""

from alembic import context

from lab.db.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
