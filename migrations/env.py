"""Alembic's entry: runs the revisions on the connection that `aft_api.db.migrate` hands over."""

from alembic import context

from aft_api.db.tables import Table

LANGGRAPH_TABLES = {"checkpoints", "checkpoint_blobs", "checkpoint_writes", "checkpoint_migrations", "writes"}


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or name not in LANGGRAPH_TABLES


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    include_name=_is_ours,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
