"""Who sends a request, from its Authorization header."""

import hmac
from dataclasses import dataclass

import structlog

from aft_api.access.errors import NotAuthenticated
from aft_api.access.oidc import Oidc
from aft_api.access.repository import find_token, is_use_worth_noting, note_use
from aft_api.access.secrets import id_in
from aft_api.clock import Clock
from aft_api.db.engine import STORE_ERRORS, Store
from aft_api.settings import Settings
from aft_contracts import Role

log = structlog.get_logger()
HOW = "Send `Authorization: Bearer …` with a token from `aft token create`; the command line takes it from AFT_TOKEN."


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks. `role` is None for a worker; `user` is None for somebody on this machine, who may take any name."""

    key: str
    """What the rate limit counts by."""
    user: str | None
    role: Role | None


LOCAL = Identity(key="local", user=None, role=Role.ADMIN)
WORKER = Identity(key="worker", user="worker", role=None)


@dataclass(frozen=True, kw_only=True)
class Authenticator:
    """Knows the bearers of API tokens, of OIDC tokens, and of the workers' credential."""

    settings: Settings
    store: Store
    oidc: Oidc | None
    clock: Clock

    async def identify(self, authorization: str | None) -> Identity:
        """Who the header proves to be asking.

        Raises:
            NotAuthenticated: nobody that is known.
        """
        if authorization is None:
            if self.settings.requires_authentication:
                raise NotAuthenticated(f"This API lets nobody in without a token. {HOW}")
            return LOCAL
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAuthenticated(f"The Authorization header is not `Bearer` and a token. {HOW}")
        found = await self._bearer(token.strip())
        if found is None:
            raise NotAuthenticated(f"The token is unknown, has expired or was revoked. {HOW}")
        return found

    async def _bearer(self, token: str) -> Identity | None:
        token_id = id_in(token)
        if token_id is not None:
            return await self._api_token(token_id, token)
        if self.is_worker(token):
            return WORKER
        person = None if self.oidc is None else await self.oidc.person(token)
        if person is None:
            return None
        return Identity(key=f"oidc:{person.subject}", user=f"oidc:{person.name}", role=person.role)

    def is_worker(self, token: str) -> bool:
        """Whether a token is the workers' own."""
        own = self.settings.worker_token
        return own is not None and hmac.compare_digest(token.encode(), own.get_secret_value().encode())

    async def _api_token(self, token_id: str, text: str) -> Identity | None:
        async with self.store.reads() as session:
            found = await find_token(session, token_id, text, clock=self.clock)
        if found is None:
            return None
        if is_use_worth_noting(found, self.clock):
            try:
                async with self.store.sessions.begin() as session:
                    await note_use(session, token_id, clock=self.clock)
            except STORE_ERRORS:
                log.warning("token_use_not_noted", token_id=token_id)
        return Identity(key=f"token:{token_id}", user=found.name, role=found.role)
