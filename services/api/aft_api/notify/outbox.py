"""The outbox: messages written with the fact they speak of, sent later, at least once, in order per run and target."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import structlog
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Select, UnaryExpression, and_, exists, literal, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from aft_api.clock import Clock
from aft_api.db.engine import Store
from aft_api.db.once import insert_once
from aft_api.db.tables import OutboxRow, TargetRow
from aft_api.notify.delivery import Delivery
from aft_api.notify.message import Notification
from aft_api.notify.quiet import quiet_until
from aft_api.runs.repository import get_run
from aft_contracts import EventKind, NotificationState, NotifySpec, NotifyTargets, QuietHours, Review

log = structlog.get_logger()
Target = tuple[str, str]
"""(channel, address)."""


async def announce(
    session: AsyncSession,
    run_id: str,
    kind: EventKind,
    text: str,
    *,
    key: str,
    clock: Clock,
    review: Review | None = None,
) -> None:
    """Put a message into the outbox for everyone the run's spec names; a key is announced once.

    The run's row is locked: what is written of one run is numbered in the order in which it is committed.

    Of the spec only `notify` is read, and one that cannot be, as of another version of aft, is logged: the fact is
    written all the same.
    """
    run = await get_run(session, run_id, for_update=True)
    try:
        notify = NotifySpec.model_validate(run.spec.get("notify", {}))
    except ValidationError:
        log.exception("nobody_told", run_id=run_id, kind=kind, key=key)
        return
    posting = _Posting(session=session, clock=clock, notify=notify, run_id=run_id, run_name=run.name, review=review)
    message = posting.message(kind, text, key)
    targets = targets_of(notify)
    if review is not None and kind in {EventKind.REVIEW_DECIDED, EventKind.REVIEW_WITHDRAWN}:
        targets = list(dict.fromkeys([*targets, *await _end_escalation(session, review.review_id)]))
    for target in targets:
        await posting.post(message, target)
    if kind is EventKind.REVIEW_REQUESTED and notify.escalation is not None:
        await posting.post_escalation(notify.escalation.after_s, text, key)


async def announce_withdrawn(session: AsyncSession, reviews: Iterable[Review], *, clock: Clock) -> None:
    """Tell whoever was asked that nobody need answer any more."""
    for review in reviews:
        text = "The question was taken back: its run has ended."
        kind = EventKind.REVIEW_WITHDRAWN
        await announce(session, review.run_id, kind, text, key=review.review_id, clock=clock, review=review)


def targets_of(named: NotifyTargets) -> list[Target]:
    """Channels and addresses, each once."""
    found = [("webhook", url) for url in named.webhooks]
    if named.slack_channel is not None:
        found.append(("slack", named.slack_channel))
    if named.slack_webhook is not None:
        found.append(("slack_webhook", named.slack_webhook))
    return list(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class _Posting:
    """Writes messages of one run into its outbox."""

    session: AsyncSession
    clock: Clock
    notify: NotifySpec
    run_id: str
    run_name: str
    review: Review | None

    def message(self, kind: EventKind, text: str, key: str) -> Notification:
        return Notification(
            notification_id=f"{self.run_id}_{kind}_{key}".replace(".", "_"),
            kind=kind,
            run_id=self.run_id,
            run_name=self.run_name,
            at=self.clock(),
            text=text,
            review=self.review,
        )

    async def post(
        self, message: Notification, target: Target, *, after_s: float = 0.0, escalates: bool = False
    ) -> None:
        hold_s = hold_for_s(message, self.notify.quiet_hours, after_s)
        if self._cannot_wait(message, after_s + hold_s):
            hold_s = 0.0
        held_until = self.clock().timestamp() + after_s + hold_s if after_s + hold_s else 0.0
        channel, address = target
        is_new = await insert_once(
            self.session,
            OutboxRow,
            key=f"{channel}:{address}:{message.notification_id}",
            run_id=self.run_id,
            channel=channel,
            address=address,
            body=message.model_dump(mode="json"),
            review_id=None if self.review is None else self.review.review_id,
            escalates=escalates,
            status=NotificationState.PENDING,
            attempts=0,
            next_attempt_at=held_until,
            claimed_until=0.0,
            last_error="",
            created_at=message.at,
        )
        if is_new and not held_until:
            await self._release_held(target)

    def _cannot_wait(self, message: Notification, wait_s: float) -> bool:
        """Whether it asks a question whose deadline passes meanwhile."""
        deadline_at = None if self.review is None else self.review.deadline_at
        return deadline_at is not None and deadline_at.timestamp() <= message.at.timestamp() + wait_s

    async def post_escalation(self, after_s: float, text: str, key: str) -> None:
        assert self.notify.escalation is not None
        words = f"Nobody has answered for {_minutes(after_s)}. {text}"
        message = self.message(EventKind.REVIEW_ESCALATED, words, key)
        for target in targets_of(self.notify.escalation):
            await self.post(message, target, after_s=after_s, escalates=True)

    async def _release_held(self, target: Target) -> None:
        # What breaks through the quiet hours takes those before it along: order is kept.
        await self.session.execute(
            update(OutboxRow)
            .where(
                OutboxRow.run_id == self.run_id,
                OutboxRow.channel == target[0],
                OutboxRow.address == target[1],
                OutboxRow.status == NotificationState.PENDING,
                OutboxRow.attempts == 0,
                OutboxRow.next_attempt_at > 0.0,
                not_(OutboxRow.escalates),
            )
            .values(next_attempt_at=0.0)
        )


def hold_for_s(message: Notification, quiet: QuietHours | None, after_s: float) -> float:
    """How long the quiet hours keep back a message that is to leave `after_s` after it was written, in seconds."""
    if quiet is None or message.kind in quiet.breaks_through:
        return 0.0
    leaves_s = message.at.timestamp() + after_s
    ends = quiet_until(message.at.fromtimestamp(leaves_s, message.at.tzinfo), quiet)
    return 0.0 if ends is None else ends.timestamp() - leaves_s


async def _end_escalation(session: AsyncSession, review_id: str) -> list[Target]:
    """Drop what would still ask more people; the targets that have been asked, or are being asked."""
    escalations = OutboxRow.review_id == review_id, OutboxRow.escalates
    await session.execute(
        update(OutboxRow)
        .where(*escalations, OutboxRow.status == NotificationState.PENDING, OutboxRow.attempts == 0)
        .values(status=NotificationState.DROPPED, last_error="the question was answered before")
    )
    asked = select(OutboxRow.channel, OutboxRow.address).where(
        *escalations, OutboxRow.status != NotificationState.DROPPED
    )
    return [(channel, address) for channel, address in await session.execute(asked)]


async def claim_due(
    store: Store, *, limit: int, claim_s: float, busy: Collection[Target] = (), per_target: int = 50
) -> Sequence[OutboxRow]:
    """Messages whose time has come, oldest first, kept from other dispatchers for `claim_s`; their attempt has begun.

    Of a run's messages to one target only the oldest that waits is given out, and none to a target that is `busy` or
    has asked for a pause. `attempts` tells two claims of one message apart.
    """
    async with store.sessions.begin() as session:
        due = (await session.scalars(_due(store, busy).limit(limit).with_for_update(skip_locked=True))).all()
        taken: list[OutboxRow] = []
        for row in due:
            if sum((row.channel, row.address) == (one.channel, one.address) for one in taken) < per_target:
                taken.append(row)
        await session.execute(
            update(OutboxRow)
            .where(OutboxRow.seq.in_([row.seq for row in taken]))
            .values(claimed_until=store.now_s + claim_s, attempts=OutboxRow.attempts + 1)
            .execution_options(synchronize_session=False)
        )
        for row in taken:
            session.expunge(row)
            row.attempts += 1
    return taken


def _due(store: Store, busy: Collection[Target]) -> Select[OutboxRow]:
    before, target = aliased(OutboxRow), TargetRow
    waits_behind = exists().where(
        before.run_id == OutboxRow.run_id,
        before.channel == OutboxRow.channel,
        before.address == OutboxRow.address,
        before.seq < OutboxRow.seq,
        before.status == NotificationState.PENDING,
        not_(before.escalates),
        not_(OutboxRow.escalates),
    )
    paused = exists().where(
        target.channel == OutboxRow.channel, target.address == OutboxRow.address, target.paused_until > store.now_s
    )
    return (
        select(OutboxRow)
        .where(
            OutboxRow.status == NotificationState.PENDING,
            OutboxRow.next_attempt_at <= store.now_s,
            OutboxRow.claimed_until <= store.now_s,
            ~waits_behind,
            ~paused,
            *(not_(and_(OutboxRow.channel == channel, OutboxRow.address == address)) for channel, address in busy),
        )
        .order_by(OutboxRow.seq)
    )


async def settle(
    session: AsyncSession,
    store: Store,
    row: OutboxRow,
    state: NotificationState,
    delivery: Delivery,
    *,
    clock: Clock,
    retry_in_s: float = 0.0,
) -> bool:
    """Write what became of one attempt; whether it counts.

    Of a message that two have tried to send, because one was frozen meanwhile, that it arrived is what counts, and
    otherwise the newer attempt.
    """
    ours = and_(OutboxRow.status == NotificationState.PENDING, OutboxRow.attempts == row.attempts)
    arrived = state is NotificationState.SENT
    written = await session.execute(
        update(OutboxRow)
        .where(OutboxRow.seq == row.seq, or_(ours, literal(arrived) & (OutboxRow.status != NotificationState.SENT)))
        .values(
            status=state,
            last_error=delivery.reason,
            next_attempt_at=store.now_s + retry_in_s,
            claimed_until=0.0,
            **({"sent_at": clock(), "receipt": delivery.receipt} if arrived else {}),
        )
        .returning(OutboxRow.seq)
    )
    return written.first() is not None


async def release_claims(store: Store) -> None:
    """Let go of every claim: on the embedded store whoever made one has ended."""
    async with store.sessions.begin() as session:
        await session.execute(update(OutboxRow).where(OutboxRow.claimed_until > 0.0).values(claimed_until=0.0))


async def oldest_receipt(session: AsyncSession, row: OutboxRow) -> OutboxRow | None:
    """The first message of the run that arrived at the row's target and can be found there."""
    return await _one_with_receipt(session, row, OutboxRow.seq.asc())


async def question_of(session: AsyncSession, row: OutboxRow) -> OutboxRow | None:
    """The newest message that asked the question which this row is about, at its target."""
    return await _one_with_receipt(
        session, row, OutboxRow.seq.desc(), OutboxRow.review_id == row.review_id, OutboxRow.seq != row.seq
    )


async def _one_with_receipt(
    session: AsyncSession, row: OutboxRow, order: UnaryExpression[int], *conditions: ColumnElement[bool]
) -> OutboxRow | None:
    found: OutboxRow | None = await session.scalar(
        select(OutboxRow)
        .where(
            OutboxRow.run_id == row.run_id,
            OutboxRow.channel == row.channel,
            OutboxRow.address == row.address,
            OutboxRow.receipt.is_not(None),
            *conditions,
        )
        .order_by(order)
        .limit(1)
    )
    return found


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
