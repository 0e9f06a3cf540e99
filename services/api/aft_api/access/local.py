"""Tokens without the API: whoever may open its store on this machine may let people in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aft_api.access.repository import has_valid_token, list_tokens, make_token, revoke_token
from aft_api.clock import utc_now
from aft_api.db.engine import Store, open_store
from aft_api.db.migrate import upgrade
from aft_api.settings import Settings, is_loopback
from aft_contracts import NewToken, TokenRequest, TokenView

NOBODY_COULD_COME_IN = (
    "AFT_HOST is {host}, which others can reach, and nobody could be let in: there is no valid token and no OIDC "
    "issuer. "
    "Make a token with `aft token create NAME --role admin --local`, set AFT_OIDC_ISSUER, or listen on 127.0.0.1."
)


class NoAuthentication(Exception):
    """The API would listen where others reach it, with no way to tell them apart."""


async def create_locally(settings: Settings, asked: TokenRequest, *, by: str) -> NewToken:
    """Make a token in the store itself."""
    async with _store(settings) as store, store.sessions.begin() as session:
        return await make_token(session, asked, by=by, clock=utc_now)


async def list_locally(settings: Settings) -> list[TokenView]:
    """All tokens of the store."""
    async with _store(settings) as store, store.reads() as session:
        return await list_tokens(session)


async def revoke_locally(settings: Settings, token_id: str) -> TokenView:
    """End a token in the store itself."""
    async with _store(settings) as store, store.sessions.begin() as session:
        return await revoke_token(session, token_id, clock=utc_now)


async def refuse_open_door(settings: Settings) -> None:
    """Return if the API may listen where it is told to.

    Raises:
        NoAuthentication: others reach that address, and nobody could prove who he is.
    """
    if is_loopback(settings.host) or settings.oidc_issuer is not None:
        return
    async with _store(settings) as store, store.reads() as session:
        if not await has_valid_token(session, clock=utc_now):
            raise NoAuthentication(NOBODY_COULD_COME_IN.format(host=settings.host))


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    await asyncio.to_thread(upgrade, settings.database_url, settings.data_dir)
    store = open_store(settings.database_url, settings.data_dir)
    try:
        yield store
    finally:
        await store.engine.dispose()
