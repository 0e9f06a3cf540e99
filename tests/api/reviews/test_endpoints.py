"""Reviews over HTTP: pages, the picture, and the shapes of an inbox."""

import pytest

from tests.api.conftest import Api
from tests.api.supervisor.test_loop import EARLY_POISON

pytestmark = pytest.mark.anyio


async def waiting(api: Api) -> tuple[str, str]:
    """A run that waits, and its review."""
    run_id = await api.start(repair={"ask_before_rollback": True}, optim={"steps": 30, "batch_size": 4})
    return run_id, (await api.until(run_id, "waiting"))["review_id"]


async def test_reviews_are_listed_by_state_page_by_page(api: Api) -> None:
    api.worker.poison = {EARLY_POISON}
    asked = [await waiting(api) for _ in range(3)]
    review_ids = [review_id for _, review_id in asked]
    await api.command(asked[0][0], "reject")
    pages, after = [], None
    while True:
        query = {"state": "open", "limit": 1} | ({"after": after} if after else {})
        page = (await api.client.get("/reviews", params=query)).json()
        pages.append([review["review_id"] for review in page["reviews"]])
        if (after := page["next_after"]) is None:
            break
    assert pages == [[review_ids[1]], [review_ids[2]]]

    async def listed(**query: str) -> list[str]:
        answer = await api.client.get("/reviews", params=query)
        return [review["review_id"] for review in answer.json()["reviews"]]

    assert await listed(state="decided") == review_ids[:1]
    assert await listed(state="all") == await listed() == review_ids
    assert await listed(run_id=asked[2][0]) == review_ids[2:]
    lost = await api.client.get("/reviews", params={"after": "none"})
    assert (lost.status_code, lost.json()["code"]) == (404, "review_not_found")
    odd = await api.client.get("/reviews", params={"state": "closed"})
    assert (odd.status_code, odd.json()["code"]) == (422, "validation_failed")


async def test_question_comes_with_evidence_options_and_picture(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id, review_id = await waiting(local_api)
    review = (await local_api.client.get(f"/reviews/{review_id}")).json()
    assert [option["name"] for option in review["options"]] == ["apply", "gentler", "go_on", "stop"]
    assert review["evidence"]["verdict"] == "data"
    assert review["evidence"]["culprits"] == [EARLY_POISON]
    assert [point["step"] for point in review["evidence"]["losses"]] == list(range(20))
    names = [figures["name"] for figures in review["evidence"]["replays"]]
    assert names[:3] == ["as_it_was", "without_suspects", "applied"]
    assert review["deadline_at"] > review["created_at"]
    picture = await local_api.client.get(f"/reviews/{review_id}/picture.svg")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/svg+xml")
    assert picture.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert "Loss of steps 0 to 19" in picture.text
    await local_api.command(run_id, "stop", review_id=review_id)
    await local_api.until(run_id, "stopped")
    decided = (await local_api.client.get(f"/reviews/{review_id}")).json()
    assert (decided["status"], decided["decision"]["option"]) == ("decided", "stop")
    [told] = (await local_api.client.get(f"/runs/{run_id}/commands")).json()["commands"]
    assert (told["status"], told["outcome"], told["applied_step"]) == ("applied", "stopped at step 20", 20)


async def test_inbox_sees_the_question_and_answers_it_once(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id, review_id = await waiting(local_api)
    shown = (await local_api.client.get(f"/reviews/{review_id}/interrupt")).json()
    assert (shown["action_request"]["action"], shown["review_id"]) == ("apply_repair", review_id)
    snapshot = await local_api.app.state.fleet.loop.aget_state({"configurable": {"thread_id": run_id}})
    assert snapshot.interrupts[0].value == shown, "LangGraph holds the same"
    edited = shown["action_request"] | {"args": {**shown["action_request"]["args"], "rollback_to_step": "0"}}
    path = f"/reviews/{review_id}/response"
    wordless = await local_api.client.post(path, json={"type": "response"})
    assert (wordless.status_code, wordless.json()["code"]) == (422, "unreadable_response")
    answers = [
        await local_api.client.post(path, json=[{"type": "edit", "args": edited}], headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    late = await local_api.client.post(path, json={"type": "ignore"})
    assert (late.status_code, late.json()["code"]) == (409, "review_already_decided")
    local_api.worker.poison = set()
    run = await local_api.until(run_id, "succeeded")
    assert run["schedule"]["branches"] == [{"generation": 1, "step": 0}]


async def test_langchains_decision_answers_the_question_that_was_asked(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    _, review_id = await waiting(local_api)
    path = f"/reviews/{review_id}/response"
    for count in (0, 2):
        odd = await local_api.client.post(path, json={"decisions": [{"type": "approve"}] * count})
        assert (odd.status_code, odd.json()["code"]) == (422, "validation_failed")
    taken = await local_api.client.post(path, json={"decisions": [{"type": "reject", "message": "not today"}]})
    assert taken.status_code == 202, taken.text
    decided = (await local_api.client.get(f"/reviews/{review_id}")).json()
    assert (decided["decision"]["answer"], decided["decision"]["message"]) == ("reject", "not today")
