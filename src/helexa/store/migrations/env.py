"""Alembic's entry: runs the migrations on the connection that `helexa.store.migrate` gives it."""

from alembic import context

from helexa.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
