"""Notifications over HTTP: what waits, what was given up, and how it is tried again."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from aft_api.dependencies import ClockDep, StoreDep
from aft_api.notify.backlog import count_backlog, list_notifications, replay, replay_failed, view_notification
from aft_api.notify.targets import enable, list_targets
from aft_contracts import Notifications, NotificationState, NotificationTargets, NotificationView, Replayed

router = APIRouter(tags=["notifications"])
Seq = Annotated[int, Path(description="The notification's number.", ge=1, le=2**63 - 1)]


@router.get("/notifications")
async def read_notifications(
    store: StoreDep,
    clock: ClockDep,
    state: Annotated[NotificationState | None, Query(description="Only those in this state.")] = None,
    run_id: Annotated[str | None, Query(description="Only those of this run.", max_length=64)] = None,
    before: Annotated[int | None, Query(description="Only smaller numbers than this.", ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(description="How many at most.", ge=1, le=1000)] = 100,
) -> Notifications:
    """Messages, newest first, and the whole backlog."""
    async with store.reads() as session:
        # Counted first: what is sent between the two is then told as sent, and not as pending beside a backlog of none.
        backlog = await count_backlog(session, clock)
        found = await list_notifications(session, store, state=state, run_id=run_id, before=before, limit=limit)
        return Notifications(notifications=tuple(found), backlog=backlog)


@router.post("/notifications/replay")
async def post_replay_failed(store: StoreDep) -> Replayed:
    """Try everything again that was given up, but for what goes to disabled targets."""
    async with store.sessions.begin() as session:
        return Replayed(replayed=await replay_failed(session))


@router.get("/notifications/targets")
async def read_targets(store: StoreDep) -> NotificationTargets:
    """Targets that are disabled or have asked for a pause."""
    async with store.reads() as session:
        return NotificationTargets(targets=tuple(await list_targets(session, store)))


@router.post("/notifications/targets/{target_id}/enable")
async def post_enable(
    target_id: Annotated[str, Path(description="The target's id.", max_length=64)], store: StoreDep
) -> NotificationTargets:
    """Send to a target again; those that are still disabled or paused."""
    async with store.sessions.begin() as session:
        await enable(session, target_id)
    return await read_targets(store)


@router.post("/notifications/{seq}/replay")
async def post_replay(seq: Seq, store: StoreDep) -> NotificationView:
    """Try a message again under the same id, from the start of its schedule."""
    async with store.sessions.begin() as session:
        await replay(session, seq)
    async with store.reads() as session:
        return await view_notification(session, store, seq)
