"""OIDC tokens of a local issuer, with real keys over real HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from aft_api.access.oidc import FRESH_S, LOOK_AGAIN_S, STALE_S, Issuer, Keys, Oidc
from aft_api.settings import Settings
from aft_contracts import Role
from tests.answering import answering
from tests.api.access.conftest import bearer
from tests.api.conftest import running_api, settings_for
from tests.simulated_worker import SimulatedWorker

pytestmark = pytest.mark.anyio
ISSUER, AUDIENCE = "https://issuer.example", "aft"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Published:
    """The issuer's key document, and how often it was asked for."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    status: int = 200


@pytest.fixture
def published() -> Iterator[Published]:
    state = Published(
        keys=[
            json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key())) | {"kid": "rsa-1", "alg": "RS256", "use": "sig"},
            json.loads(ECAlgorithm.to_jwk(EC_KEY.public_key())) | {"kid": "ec-1", "alg": "ES256", "use": "sig"},
        ]
    )

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            body = json.dumps({"keys": state.keys}).encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output for the test."""

    with answering(Answering) as url:
        state.url = f"{url}keys"
        yield state


def claims(**changes: Any) -> dict[str, Any]:
    """Those of somebody who may operate; None takes one away."""
    now = int(time.time())
    whole = {
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 300,
        "email": "ada@example.org", "realm_access": {"roles": ["nothing", "ml-team"]},
    } | changes  # fmt: skip
    return {name: value for name, value in whole.items() if value is not None}


def signed(key: Any = RSA_KEY, *, algorithm: str = "RS256", key_id: str = "rsa-1", **changes: Any) -> str:
    """A token."""
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": key_id})


def issuer() -> Issuer:
    """Whose tokens count."""
    return Issuer(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=("RS256", "ES256"),
        role_claim="realm_access.roles",
        roles={"ml-team": Role.OPERATOR, "everybody": Role.VIEWER},
    )


def forged_with_the_public_key() -> str:
    """The classic: HMAC with the published key as its secret."""
    pem = json.dumps(json.loads(RSAAlgorithm.to_jwk(RSA_KEY.public_key()))).encode()

    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "kid": "rsa-1", "typ": "JWT"}) + b"." + part(claims())
    mac = base64.urlsafe_b64encode(hmac.new(pem, body, hashlib.sha256).digest()).rstrip(b"=")
    return (body + b"." + mac).decode()


@pytest.mark.parametrize(
    "make",  # when the test runs: a token lasts five minutes, and tests are collected long before
    [
        lambda: signed(),
        lambda: signed(EC_KEY, algorithm="ES256", key_id="ec-1"),
        lambda: signed(aud=["other", AUDIENCE]),
    ],
)
async def test_genuine_token_names_a_person_with_a_role(published: Published, make: Callable[[], str]) -> None:
    async with httpx.AsyncClient() as http:
        person = await Oidc(issuer(), Keys(http, published.url)).person(make())
    assert person is not None
    assert (person.subject, person.name, person.role) == ("u-1", "ada@example.org", Role.OPERATOR)


@pytest.mark.parametrize(
    ("verified", "name"),
    [(True, "ada@example.org"), ("true", "ada@example.org"), (False, "u-1"), ("false", "u-1"), (0, "u-1")],
)
async def test_an_address_that_is_not_verified_names_nobody(published: Published, verified: object, name: str) -> None:
    async with httpx.AsyncClient() as http:
        person = await Oidc(issuer(), Keys(http, published.url)).person(signed(email_verified=verified))
    assert person is not None
    assert person.name == name


@pytest.mark.parametrize(
    "make",
    [
        lambda: signed(OTHER_KEY),
        lambda: signed(key_id="unknown"),
        lambda: signed(EC_KEY, algorithm="ES256"),
        lambda: signed(algorithm="RS512"),
        lambda: jwt.encode(claims(), None, algorithm="none", headers={"kid": "rsa-1"}),
        forged_with_the_public_key,
        lambda: signed(exp=int(time.time()) - 120),
        lambda: signed(nbf=int(time.time()) + 600),
        lambda: signed(exp=None),
        lambda: signed(sub=None),
        lambda: signed(aud="other"),
        lambda: signed(aud=None),
        lambda: signed(iss="https://other.example"),
        lambda: signed(iss=None),
        lambda: signed(realm_access={"roles": ["nothing"]}),
        lambda: signed(realm_access={"roles": {"ml-team": True}}),
        lambda: signed(realm_access="ml-team"),
        lambda: signed()[:-4] + "AAAA",
        lambda: jwt.encode(claims(), RSA_KEY, algorithm="RS256"),
    ],
    ids=["another key", "unknown key", "key of another kind", "algorithm not listed", "no signature",
         "public key as secret", "expired", "not yet", "without end", "without subject", "other audience",
         "no audience", "other issuer", "no issuer", "no role", "roles no list", "claim no mapping", "tampered",
         "no key id"],
)  # fmt: skip
async def test_anything_else_names_nobody(published: Published, make: Callable[[], str]) -> None:
    async with httpx.AsyncClient() as http:
        assert await Oidc(issuer(), Keys(http, published.url)).person(make()) is None


@given(st.text(max_size=100) | st.tuples(st.text(), st.text(), st.text()).map(".".join))
def test_any_text_names_nobody_and_asks_nobody(text: str) -> None:
    async def once() -> None:
        def refuse(_: httpx.Request) -> httpx.Response:
            raise AssertionError("the issuer was asked")

        async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as http:
            assert await Oidc(issuer(), Keys(http, "http://x/")).person(text) is None

    asyncio.run(once())


async def test_keys_are_kept_and_fetched_anew_with_measure(published: Published) -> None:
    now = [0.0]
    async with httpx.AsyncClient() as http:
        keys = Keys(http, published.url, now_s=lambda: now[0])
        for _ in range(5):
            assert await keys.key("rsa-1") is not None
        for number in range(5):
            assert await keys.key(f"made up {number}") is None
        assert published.asked == 1
        now[0] = LOOK_AGAIN_S
        published.keys[0]["kid"] = "rotated"
        assert await keys.key("rotated") is not None
        assert published.asked == 2
        published.status = 500
        now[0] += FRESH_S + 1
        assert await keys.key("rotated") is not None, "an issuer that is away for a while locks nobody out"
        now[0] += STALE_S
        assert await keys.key("rotated") is None


async def test_bearer_of_an_oidc_token_is_in_the_audit(
    published: Published, tmp_path: Path, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(
        tmp_path, None, worker_url, auth="required", oidc_issuer=ISSUER, oidc_audience=AUDIENCE,
        oidc_jwks_url=published.url, oidc_role_claim="realm_access.roles", oidc_roles={"ml-team": Role.OPERATOR},
    )  # fmt: skip
    async with running_api(settings, worker) as api:
        assert (await api.client.get("/runs", headers=bearer(signed(OTHER_KEY)))).status_code == 401
        assert (await api.client.get("/tokens", headers=bearer(signed()))).status_code == 403
        api.client.headers.update(bearer(signed()))
        run_id = await api.start()
        assert (await api.command(run_id, "pause")).json()["given_by"] == "oidc:ada@example.org"


@pytest.mark.parametrize("changes", [{}, {"oidc_audience": "a"}, {"oidc_audience": "a", "oidc_jwks_url": "https://x"}])
def test_half_a_configuration_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="AFT_OIDC_ISSUER needs"):
        Settings(oidc_issuer=ISSUER, **changes)


def test_algorithm_with_a_shared_secret_cannot_be_listed() -> None:
    with pytest.raises(ValidationError, match="oidc_algorithms"):
        Settings(oidc_algorithms=("HS256",))
