"""Token rows."""

from datetime import timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.access.errors import TokenNotFound
from aft_api.access.secrets import digest_of, is_same, new_secret
from aft_api.clock import Clock
from aft_api.db.tables import TokenRow
from aft_contracts import NewToken, Role, TokenRequest, TokenView

USE_NOTED_EVERY = timedelta(minutes=1)


async def make_token(session: AsyncSession, asked: TokenRequest, *, by: str, clock: Clock) -> NewToken:
    """Make a token; its text is in the answer and nowhere else."""
    secret, now = new_secret(), clock()
    row = TokenRow(
        token_id=secret.token_id,
        name=asked.name,
        role=asked.role,
        digest=digest_of(secret.text),
        created_by=by,
        created_at=now,
        expires_at=now + timedelta(days=asked.days),
    )
    session.add(row)
    await session.flush()
    return NewToken(token=secret.text, view=_view(row))


async def list_tokens(session: AsyncSession) -> list[TokenView]:
    """All tokens, oldest first; those that ended too."""
    rows = await session.scalars(select(TokenRow).order_by(TokenRow.created_at, TokenRow.token_id))
    return [_view(row) for row in rows]


async def revoke_token(session: AsyncSession, token_id: str, *, clock: Clock) -> TokenView:
    """End a token now; one that was revoked before keeps that moment.

    Raises:
        TokenNotFound: there is none.
    """
    await session.execute(
        update(TokenRow).where(TokenRow.token_id == token_id, TokenRow.revoked_at.is_(None)).values(revoked_at=clock())
    )
    row = await session.get(TokenRow, token_id, populate_existing=True)
    if row is None:
        raise TokenNotFound(token_id)
    return _view(row)


async def find_token(session: AsyncSession, token_id: str, text: str, *, clock: Clock) -> TokenView | None:
    """The token that `text` is, while it is valid; None for every other reason, which the sender is not told."""
    row = await session.get(TokenRow, token_id)
    if row is None or not is_same(text, row.digest):
        return None
    return _view(row) if row.revoked_at is None and row.expires_at > clock() else None


async def note_use(session: AsyncSession, token_id: str, *, clock: Clock) -> None:
    """Write when a token was last used."""
    await session.execute(update(TokenRow).where(TokenRow.token_id == token_id).values(last_used_at=clock()))


async def has_valid_token(session: AsyncSession, *, clock: Clock) -> bool:
    """Whether anybody could be let in by a token now."""
    valid = exists().where(TokenRow.revoked_at.is_(None), TokenRow.expires_at > clock())
    return bool(await session.scalar(select(valid)))


def is_use_worth_noting(token: TokenView, clock: Clock) -> bool:
    """Whether the use that is on record is old: a write with every request would be most of what it costs."""
    return token.last_used_at is None or clock() - token.last_used_at > USE_NOTED_EVERY


def _view(row: TokenRow) -> TokenView:
    return TokenView(
        token_id=row.token_id,
        name=row.name,
        role=Role(row.role),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
