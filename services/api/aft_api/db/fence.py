"""The fence: what a driver writes counts only while its lease is the newest; checked as each transaction begins."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import Connection, text

Fence = tuple[str, int]
fence: ContextVar[Fence | None] = ContextVar("fence", default=None)
"""(run id, lease token) of the driver whose context this is. Tasks inherit it: LangGraph's do, and so do ours."""

# Locked, so that nobody can claim the run between this and the commit. Not FOR SHARE: two transactions that
# share the row and then both write it would wait for each other.
_OURS = "SELECT 1 FROM runs WHERE run_id = %s AND lease_token = %s FOR NO KEY UPDATE"
_OURS_SQLITE = text("SELECT 1 FROM runs WHERE run_id = :run_id AND lease_token = :token")  # one writer: no row locks


class LeaseLost(Exception):
    """Another process drives this run now; what we hold is stale."""


def check_fence(connection: Connection) -> None:
    """Let a transaction that may write begin, unless it is a driver's whose lease has gone to somebody else.

    Raises:
        LeaseLost: it has.
    """
    held = fence.get()
    if held is None or connection.get_execution_options().get("aft_reads", False):
        return
    if connection.dialect.name == "sqlite":
        ours = connection.scalar(_OURS_SQLITE, {"run_id": held[0], "token": held[1]})
    else:  # as the driver takes it, without SQLAlchemy's compiler: it opens every transaction
        ours = connection.exec_driver_sql(_OURS, held).scalar()
    if ours is None:
        raise LeaseLost(held[0])


@contextmanager
def fenced(run_id: str, token: int) -> Iterator[None]:
    """Fence what is written inside, here and in the tasks begun here, by a lease."""
    outside = fence.set((run_id, token))
    try:
        yield
    finally:
        fence.reset(outside)
