"""Ending: the one transaction in which a run comes to its end, whichever it is."""

from typing import Any

from aft_api.notify.outbox import announce, announce_withdrawn
from aft_api.reviews.repository import withdraw_reviews
from aft_api.runs.commands import settle_left
from aft_api.runs.events import record
from aft_api.runs.repository import get_run, move_run
from aft_api.supervisor.ports import Ports
from aft_contracts import EventKind, Problem, RunStatus

_KINDS = {
    RunStatus.SUCCEEDED: EventKind.RUN_SUCCEEDED,
    RunStatus.STOPPED: EventKind.RUN_STOPPED,
    RunStatus.FAILED: EventKind.RUN_FAILED,
}


async def end_run(ports: Ports, run_id: str, status: RunStatus, *, problem: Problem | None = None) -> None:
    """Write how the run ended, and why if by a `problem`: nobody drives it any more, what it asks is withdrawn, what it
    was told is settled, and whoever is to be told is told. Nothing happens to a run that has ended already.
    """
    async with ports.store.sessions.begin() as session:
        told_problem = None if problem is None else problem.model_dump(mode="json")
        ended = await move_run(
            session, run_id, status, ports.clock, wants_drive=False, problem=told_problem, review_id=None
        )
        if not ended:
            return
        step = (await get_run(session, run_id)).step
        await announce_withdrawn(session, await withdraw_reviews(session, run_id), clock=ports.clock)
        await settle_left(session, run_id, status, step=step, clock=ports.clock)
        text, facts = f"The run {status} at step {step}.", dict[str, Any]()
        if problem is not None:
            text, facts = f"The run failed: {problem.detail}", {"code": problem.code}
        kind = _KINDS[status]
        await record(session, run_id, kind, text, key="end", clock=ports.clock, step=step, **facts)
        await announce(session, run_id, kind, text, key="end", clock=ports.clock)
