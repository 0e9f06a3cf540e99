"""API tokens over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi import status as http

from aft_api.access.repository import list_tokens, make_token, revoke_token
from aft_api.dependencies import CallerDep, ClockDep, StoreDep
from aft_contracts import Contract, NewToken, TokenRequest, TokenView

router = APIRouter(tags=["tokens"])
TokenId = Annotated[str, Path(description="The token's id.", pattern="^[0-9a-f]{12}$")]


class Tokens(Contract):
    """A list of tokens."""

    tokens: tuple[TokenView, ...]
    """Oldest first; those that ended too."""


@router.post("/tokens", status_code=http.HTTP_201_CREATED)
async def post_token(request: TokenRequest, store: StoreDep, clock: ClockDep, caller: CallerDep) -> NewToken:
    """Make a token; the answer is the one time that it is shown."""
    async with store.sessions.begin() as session:
        return await make_token(session, request, by=caller.user, clock=clock)


@router.get("/tokens")
async def read_tokens(store: StoreDep) -> Tokens:
    """All tokens, without their secrets."""
    async with store.reads() as session:
        return Tokens(tokens=tuple(await list_tokens(session)))


@router.delete("/tokens/{token_id}")
async def delete_token(token_id: TokenId, store: StoreDep, clock: ClockDep) -> TokenView:
    """Revoke a token; it stays in the list."""
    async with store.sessions.begin() as session:
        return await revoke_token(session, token_id, clock=clock)
