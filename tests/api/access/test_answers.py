"""Who may answer a review: those whom it asks, by name or by the role of their token."""

import pytest

from aft_api.db.engine import Store
from aft_api.reviews.repository import ask
from aft_contracts import Role
from tests.api.access.conftest import Closed
from tests.api.conftest import placed_run
from tests.api.reviews.examples import question

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("answered_by", "operator", "admin"),
    [
        ([], 202, 409),
        (["role:admin"], 403, 202),
        (["role:operator"], 202, 409),
        (["the operator"], 202, 409),
        (["role:nobody"], 403, 403),
    ],
)
async def test_token_answers_what_its_role_or_name_is_asked(
    closed: Closed, answered_by: list[str], operator: int, admin: int
) -> None:
    store: Store = closed.api.app.state.store
    run_id = await placed_run(store)
    async with store.sessions.begin() as session:
        await ask(session, question(run_id, answered_by=answered_by))
    outcomes = []
    for role in (Role.OPERATOR, Role.ADMIN):
        # A name that the sender gives themselves counts for nothing beside a token.
        headers = closed.headers(role) | {"X-Aft-User": "role:admin"}
        answer = await closed.api.client.post(f"/runs/{run_id}/commands", json={"kind": "reject"}, headers=headers)
        outcomes.append((answer.status_code, answer.json().get("code")))
    codes = {202: None, 409: "review_already_decided", 403: "may_not_answer"}
    assert outcomes == [(status, codes[status]) for status in (operator, admin)]
