"""OIDC bearer tokens: verified by the issuer's published keys, and a claim mapped to a role."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import structlog
from jwt import PyJWK, PyJWKSet

from aft_contracts import Role

log = structlog.get_logger()
FETCH_WITHIN_S = 5.0
FRESH_S = 300.0
"""How long the keys are believed without a look."""
LOOK_AGAIN_S = 30.0
"""Shortest time between two looks: a sender of made-up key ids must not make us call the issuer each time."""
STALE_S = 86_400.0
"""How long old keys still count when the issuer does not answer."""
MOST_KEYS_BYTES = 1_000_000
LEEWAY_S = 30.0
"""What clocks may differ by."""


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Whose tokens count, and what they are worth."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    role_claim: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, kw_only=True)
class Person:
    """Whom a token names."""

    subject: str
    name: str
    role: Role


class Keys:
    """The issuer's keys, fetched when they are needed and kept for a while."""

    def __init__(self, http: httpx.AsyncClient, url: str, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._http, self._url, self._now_s = http, url, now_s
        self._keys: dict[str, PyJWK] = {}
        self._fetched_s = self._looked_s = float("-inf")
        self._lock = asyncio.Lock()

    async def key(self, key_id: str) -> PyJWK | None:
        """The key of this id; None when the issuer has none such, or cannot be asked."""
        async with self._lock:
            age_s = self._now_s() - self._fetched_s
            is_due = age_s > FRESH_S or key_id not in self._keys
            if is_due and self._now_s() - self._looked_s >= LOOK_AGAIN_S:
                self._looked_s = self._now_s()
                await self._fetch()
            if self._now_s() - self._fetched_s > STALE_S:
                return None
            return self._keys.get(key_id)

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_WITHIN_S):
                content = await self._content()
            keys = PyJWKSet.from_json(content.decode()).keys
        except (httpx.HTTPError, TimeoutError, jwt.PyJWTError, ValueError, AttributeError, TypeError) as error:
            log.warning("oidc_keys_not_fetched", url=self._url, reason=f"{type(error).__name__}: {error}"[:300])
            return
        self._keys = {key.key_id: key for key in keys if key.key_id is not None}
        self._fetched_s = self._now_s()

    async def _content(self) -> bytes:
        async with self._http.stream("GET", self._url, follow_redirects=False, timeout=FETCH_WITHIN_S) as response:
            response.raise_for_status()
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > MOST_KEYS_BYTES:
                    raise ValueError("the key document is too large")
        return bytes(content)


class Oidc:
    """Tells whom an issuer's token names."""

    def __init__(self, issuer: Issuer, keys: Keys) -> None:
        self._issuer, self._keys = issuer, keys

    async def person(self, token: str) -> Person | None:
        """Whom `token` names, if it is genuine, valid now, meant for us, and worth a role."""
        try:
            head = jwt.get_unverified_header(token)
            algorithm, key_id = head.get("alg"), head.get("kid")
            # The list is ours: what the token itself says about its algorithm chooses from it and adds nothing.
            if algorithm not in self._issuer.algorithms or not isinstance(key_id, str):
                return None
            key = await self._keys.key(key_id)
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self._issuer.algorithms),
                audience=self._issuer.audience,
                issuer=self._issuer.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            log.info("oidc_token_refused", reason=type(error).__name__)
            return None
        return self._person_in(claims)

    def _person_in(self, claims: Mapping[str, Any]) -> Person | None:
        worth = [
            self._issuer.roles[value]
            for value in _values(claims, self._issuer.role_claim)
            if value in self._issuer.roles
        ]
        if not worth:
            return None
        subject = str(claims["sub"])
        # An address that the issuer has not verified is anybody's, and who may answer is told by names.
        is_theirs = str(claims.get("email_verified", True)).lower() == "true"
        known_as = ("email", "preferred_username") if is_theirs else ("preferred_username",)
        name = next((v for k in known_as if isinstance(v := claims.get(k), str) and v), subject)
        return Person(subject=subject, name=name[:200].replace("\x00", ""), role=max(worth, key=list(Role).index))


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    """The values of a claim, whose name may go down by dots (`realm_access.roles`)."""
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return [value for value in values if isinstance(value, str)]
