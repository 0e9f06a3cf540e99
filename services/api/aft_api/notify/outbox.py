"""The outbox: messages written with the fact they speak of, sent later, at least once."""

from collections.abc import Sequence

from sqlalchemy import literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.once import insert_once
from aft_api.db.tables import OutboxRow
from aft_api.notify.message import Notification
from aft_api.runs.repository import get_run
from aft_api.settings import Settings
from aft_contracts import EventKind, Review, RunSpec

CLAIM_S = 120.0
"""How long one dispatcher keeps a message to itself; longer than any sending takes."""


async def announce(
    session: AsyncSession,
    run_id: str,
    kind: EventKind,
    text: str,
    *,
    key: str,
    settings: Settings,
    clock: Clock,
    review: Review | None = None,
) -> None:
    """Put a message into the outbox for everyone the run's spec names; a key is announced once."""
    spec = RunSpec.model_validate((await get_run(session, run_id)).spec)
    run_url = f"{settings.public_url.rstrip('/')}/runs/{run_id}"
    message = Notification(
        notification_id=f"{run_id}_{kind}_{key}".replace(".", "_"),
        kind=kind,
        run_id=run_id,
        run_name=spec.name,
        at=clock(),
        text=text,
        details={},
        review=review,
        run_url=run_url,
        review_url=None if review is None else f"{settings.public_url.rstrip('/')}/reviews/{review.review_id}",
    )
    targets = [("webhook", url) for url in spec.notify.webhooks]
    if spec.notify.slack_channel is not None:
        targets.append(("slack", spec.notify.slack_channel))
    for channel, address in targets:
        await insert_once(
            session,
            OutboxRow,
            key=f"{channel}:{address}:{message.notification_id}",
            run_id=run_id,
            channel=channel,
            address=address,
            body=message.model_dump(mode="json"),
            status="pending",
            attempts=0,
            next_attempt_at=0.0,
            last_error="",
            created_at=clock(),
        )


async def fetch_due(store: Store, *, limit: int) -> Sequence[OutboxRow]:
    """Messages whose time has come, oldest first, kept from other dispatchers for a while."""
    async with store.sessions.begin() as session:
        rows = (
            await session.scalars(
                select(OutboxRow)
                .where(OutboxRow.status == "pending", OutboxRow.next_attempt_at <= store.now_s)
                .order_by(OutboxRow.seq)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
        ).all()
        await session.execute(
            update(OutboxRow)
            .where(OutboxRow.seq.in_([row.seq for row in rows]))
            .values(next_attempt_at=store.now_s + CLAIM_S)
            .execution_options(synchronize_session=False)
        )
        return rows


async def settle(store: Store, seq: int, *, status: str, error: str = "", retry_in_s: float = 0.0) -> None:
    """Write what became of one attempt.

    Of a message that two have tried to send, because one was frozen meanwhile, that it arrived is what counts.
    """
    async with store.sessions.begin() as session:
        await session.execute(
            update(OutboxRow)
            .where(OutboxRow.seq == seq, or_(OutboxRow.status == "pending", literal(status == "delivered")))
            .values(
                status=status,
                attempts=OutboxRow.attempts + 1,
                last_error=error,
                next_attempt_at=store.now_s + retry_in_s,
            )
        )
