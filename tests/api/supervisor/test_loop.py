"""The whole loop, from POST /runs to the end, on both stores, against a simulated worker."""

import asyncio
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Response
from langgraph.checkpoint.base import id as checkpoint_ids

from aft_api.settings import Settings
from aft_contracts import Problem
from tests.api.conftest import Api, running_api, serving, settings_for, spec_json
from tests.simulated_worker import SimulatedWorker, simulated_app

pytestmark = pytest.mark.anyio
LATE_POISON = "s121"
"""Drawn at step 30, when the guard is armed."""
EARLY_POISON = "s54"
"""Drawn at step 13, before the guard is armed."""
TWO_DOMAINS = {
    "domains": {"chat": {"path": "/data/chat.jsonl"}, "code": {"path": "/data/code.jsonl"}},
    "evaluation": {"chat": "/data/held_out.jsonl"},
}


async def sample_ids(api: Api, run_id: str, *, from_index: int = 0) -> set[str]:
    """Ids of all samples in the run's windows from an index on."""
    windows = (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
    return {
        sample["sample_id"]
        for window in windows[from_index:]
        for step in window["result"]["metrics"]["steps"]
        for sample in step["samples"]
    }


async def test_healthy_run_trains_every_window_once_and_succeeds(api: Api) -> None:
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    assert run["step"] == 60
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]
    assert [score["step"] for score in run["evaluations"]] == [0, 40, 60]
    assert run["export"]["adapter_path"] == "/adapters/x"
    assert await api.events(run_id, "anomaly_detected") == []
    assert api.worker.runs == {}
    assert {job_id for job_id in api.worker.jobs if job_id in api.worker.windows} == {f"{run_id}:0:5"}, (
        "all others settled"
    )


async def test_the_intent_of_a_window_is_in_the_store_before_the_worker_is_asked(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker
) -> None:
    honest, known = simulated_app(worker), {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "PUT" and scope["path"].startswith("/v1/windows/"):
            window_id = scope["path"].rsplit("/", 1)[1]
            windows = (await api.client.get(f"/runs/{window_id.split(':')[0]}/windows")).json()["windows"]
            known[window_id] = [(window["window_id"], window["status"]) for window in windows][-1]
        await honest(scope, receive, send)

    settings = settings_for(tmp_path, database_url, "http://127.0.0.1:9")
    async with (
        serving(app) as url,  # type: ignore[arg-type]
        running_api(settings.model_copy(update={"worker_urls": (url,)}), worker) as api,
    ):
        run_id = await api.start(optim={"steps": 20, "batch_size": 4})
        await api.until(run_id, "succeeded")
    assert known == {f"{run_id}:0:{index}": (f"{run_id}:0:{index}", "accepted") for index in range(2)}


async def test_refused_poison_is_named_proven_blacklisted_and_never_loaded_again(api: Api) -> None:
    api.worker.poison = {LATE_POISON}
    run_id = await api.start(optim={"steps": 140, "batch_size": 4})
    run = await api.until(run_id, "succeeded")
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert (report["verdict"], report["culprits"]) == ("data", [LATE_POISON])
    assert [replay["name"] for replay in report["replays"]] == [
        "as_it_was", "without_suspects", "applied", "without:0", "placebo:30.0", "placebo:30.1", "placebo:30.2",
        "from_checkpoint:20",
    ]  # fmt: skip
    replayed = sum(len(replay["steps"]) for replay in report["replays"])
    assert report["replay_steps"] == replayed + 10, "the way from step 20 to the row's step"
    assert [(entry["sample_id"], entry["step"]) for entry in run["schedule"]["blacklist"]] == [(LATE_POISON, 40)]
    assert run["generation"] == 0, "the guard had refused the update: nothing to roll back"
    assert LATE_POISON in await sample_ids(api, run_id)
    assert LATE_POISON not in await sample_ids(api, run_id, from_index=4)
    assert run["review_id"] is None


async def test_row_that_stands_out_and_does_no_harm_is_told_of_once_and_goes_on(api: Api) -> None:
    api.worker.poison = api.worker.harmless = {LATE_POISON, EARLY_POISON}
    run_id = await api.start(optim={"steps": 240, "batch_size": 4})
    run = await api.until(run_id, "succeeded")
    reports = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert [(one["verdict"], one["culprits"], one["unproven"], one["repair"]["kind"]) for one in reports] == [
        ("data", [], [EARLY_POISON], "continue"), ("data", [], [LATE_POISON], "continue"),
    ]  # fmt: skip
    assert (run["schedule"]["blacklist"], run["schedule"]["branches"], run["review_id"]) == ([], [], None)
    alarms = {event["step"] for event in await api.events(run_id, "anomaly_detected")}
    assert alarms == {13, 30}, "the rows come again at steps 113, 130, 213 and 230"


async def test_ban_names_its_evidence_and_is_lifted_without_moving_anybody(api: Api) -> None:
    api.worker.poison, api.worker.step_s = {LATE_POISON}, 0.05
    run_id = await api.start(optim={"steps": 240, "batch_size": 4})
    while not (await api.client.get(f"/runs/{run_id}/blacklist")).json()["blacklist"]:
        await api.run(run_id)
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    [entry] = (await api.client.get(f"/runs/{run_id}/blacklist")).json()["blacklist"]
    assert (entry["sample_id"], entry["diagnosis_id"], entry["until_step"]) == (
        LATE_POISON, report["diagnosis_id"], None,
    )  # fmt: skip
    while (await api.run(run_id))["step"] <= entry["step"]:
        await asyncio.sleep(0.05)
    await api.command(run_id, "pause")
    paused = await api.until(run_id, "paused")
    assert (await api.command(run_id, "unblacklist_samples", sample_ids=[LATE_POISON])).status_code == 202
    api.worker.poison, api.worker.step_s = set(), 0.0
    await api.command(run_id, "resume")
    await api.until(run_id, "succeeded")
    [entry] = (await api.client.get(f"/runs/{run_id}/blacklist")).json()["blacklist"]
    assert entry["step"] < entry["until_step"] == paused["step"]
    drawn = [
        {sample["sample_id"] for sample in step["samples"]}
        for window in (await api.client.get(f"/runs/{run_id}/windows")).json()["windows"]
        for step in window["result"]["metrics"]["steps"]
    ]
    expected = [30, *(step for step in (130, 230) if step >= paused["step"])]
    assert [step for step, ids in enumerate(drawn) if LATE_POISON in ids] == expected
    assert len(drawn) == 240
    [again] = [await api.command(run_id, "unblacklist_samples", sample_ids=[LATE_POISON])]
    assert (again.status_code, again.json()["code"]) == (409, "run_finished")


async def test_ban_that_a_human_agreed_to_names_the_diagnosis_too(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id = await local_api.start(repair={"ask_before_rollback": True})
    await local_api.until(run_id, "waiting")
    unknown = await local_api.command(run_id, "unblacklist_samples", sample_ids=["s1"])
    assert (unknown.status_code, unknown.json()["code"]) == (409, "command_impossible")
    await local_api.command(run_id, "resume", answer="approve")
    await local_api.until(run_id, "succeeded")
    [entry] = (await local_api.client.get(f"/runs/{run_id}/blacklist")).json()["blacklist"]
    assert entry["diagnosis_id"] == f"{run_id}:0:1:d"


async def test_two_poisoned_rows_far_apart_in_one_window_are_both_found(local_api: Api) -> None:
    local_api.worker.poison = {LATE_POISON, "s157"}
    run_id = await local_api.start()
    run = await local_api.until(run_id, "succeeded")
    assert {entry["sample_id"]: entry["step"] for entry in run["schedule"]["blacklist"]} == {
        LATE_POISON: 40,
        "s157": 40,
    }
    [report] = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    replayed = sum(len(replay["steps"]) for replay in report["replays"])
    from_30, from_20 = 6 + 9, 10 + 16
    assert report["replay_steps"] == replayed + from_30 + from_20, "the ways to the second row, and to both from before"


async def test_applied_poison_is_rolled_back_after_a_human_agreed(api: Api) -> None:
    api.worker.poison = {EARLY_POISON}
    run_id = await api.start(repair={"ask_before_rollback": True})
    waiting = await api.until(run_id, "waiting")
    [review] = (await api.client.get("/reviews", params={"state": "open"})).json()["reviews"]
    assert review["review_id"] == waiting["review_id"]
    assert review["proposal"]["blacklist"] == [EARLY_POISON]
    target = review["proposal"]["rollback_to_step"]
    assert target == 10

    first = await api.command(run_id, "resume", review_id=review["review_id"], answer="approve")
    assert first.status_code == 202
    second = await api.command(run_id, "resume", review_id=review["review_id"], answer="reject")
    assert (second.status_code, second.json()["code"]) == (409, "review_already_decided")
    assert second.json()["facts"]["decided_by"] == "local"

    run = await api.until(run_id, "succeeded")
    assert run["schedule"]["branches"] == [{"generation": 1, "step": 10}]
    assert run["schedule"]["blacklist"][0] == {
        "sample_id": EARLY_POISON, "step": 10, "cause": run["schedule"]["blacklist"][0]["cause"],
        "diagnosis_id": review["diagnosis_id"], "until_step": None,
    }  # fmt: skip
    assert api.worker.windows[:3] == [f"{run_id}:0:0", f"{run_id}:0:1", f"{run_id}:1:2"]
    assert EARLY_POISON not in await sample_ids(api, run_id, from_index=2)
    decided = (await api.client.get(f"/reviews/{review['review_id']}")).json()
    assert (decided["status"], decided["decision"]["answer"]) == ("decided", "approve")
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert (report["repair"]["kind"], report["repair"]["rollback_to_step"]) == ("blacklist", 10), "no longer a question"
    assert report["repair_state"] == "proven"


async def test_agreed_repair_that_does_not_hold_fails_its_probation_and_the_next_rung_is_asked_about(
    local_api: Api,
) -> None:
    local_api.worker.transient_steps = {33}
    local_api.worker.transient_loss = math.nan
    local_api.worker.strikes_again = 1
    run_id = await local_api.start(repair={"ask_before_rollback": True}, optim={"steps": 80, "batch_size": 4})
    for questions in (1, 2):
        async with asyncio.timeout(30):
            while len(await local_api.events(run_id, "review_requested")) < questions:
                await asyncio.sleep(0.05)
        await local_api.until(run_id, "waiting")
        assert (await local_api.command(run_id, "resume", answer="approve")).status_code == 202
    await local_api.until(run_id, "succeeded")
    reports = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert [(one["verdict"], one["repair_state"], one["repair"]["lr_factor"]) for one in reports] == [
        ("transient", "failed", None), ("transient", "proven", 0.5),
    ]  # fmt: skip
    assert len(await local_api.events(run_id, "repair_failed")) == 1


async def test_rejected_repair_changes_nothing(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id = await local_api.start(repair={"ask_before_rollback": True})
    await local_api.until(run_id, "waiting")
    assert (await local_api.command(run_id, "resume", answer="reject")).status_code == 202
    run = await local_api.until(run_id, "succeeded")
    assert run["schedule"]["branches"] == []
    assert run["schedule"]["blacklist"] == []


async def test_edited_repair_is_made_instead_of_the_proposed_one(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id = await local_api.start(repair={"ask_before_rollback": True})
    await local_api.until(run_id, "waiting")
    missing = await local_api.command(run_id, "resume", answer="edit")
    assert (missing.status_code, missing.json()["code"]) == (422, "repair_needed")
    repair = {"kind": "rollback", "rollback_to_step": 0, "lr_factor": 0.5, "reasons": ["start over, gently"]}
    assert (await local_api.command(run_id, "resume", answer="edit", repair=repair)).status_code == 202
    local_api.worker.poison = set()
    run = await local_api.until(run_id, "succeeded")
    assert run["schedule"]["branches"] == [{"generation": 1, "step": 0}]
    assert run["schedule"]["rates"][0]["scale"] == 0.5
    assert run["schedule"]["blacklist"] == []


async def test_sample_that_is_not_finite_is_found_on_both_stores(api: Api) -> None:
    api.worker.nan = {LATE_POISON}
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    assert [entry["sample_id"] for entry in run["schedule"]["blacklist"]] == [LATE_POISON]
    steps = (await api.client.get(f"/runs/{run_id}/steps")).json()["steps"]
    assert [step["step"] for step in steps if step["loss"] == "NaN"] == [30]
    assert [step["step"] for step in steps] == list(range(60))


async def test_row_that_a_damaged_weight_makes_no_number_is_not_blamed(api: Api) -> None:
    """A weight of 10^38 overflows with some rows and not with others: they look like the cause, batch after batch."""
    api.worker.nan, api.worker.damaged_at = {LATE_POISON, "s133", "s150"}, 30
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert (report["verdict"], report["culprits"], report["sound_step"]) == ("state", [], 20)
    assert (run["schedule"]["blacklist"], run["review_id"]) == ([], None)
    assert [branch["step"] for branch in run["schedule"]["branches"]] == [20]
    steps = (await api.client.get(f"/runs/{run_id}/steps")).json()["steps"]
    assert [step["step"] for step in steps if step["loss"] == "NaN"] == []


async def test_fault_that_a_replay_does_not_show_is_transient_and_blames_nobody(api: Api) -> None:
    api.worker.transient_steps = {33}
    run_id = await api.start()
    run = await api.until(run_id, "succeeded")
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert report["verdict"] == "transient"
    assert run["schedule"]["blacklist"] == []
    assert report["sound_step"] == 30
    assert [branch["step"] for branch in run["schedule"]["branches"]] == [30]


@pytest.mark.parametrize("is_asked", [False, True])
async def test_rate_that_answered_a_jump_is_given_back_once_it_is_over(local_api: Api, is_asked: bool) -> None:
    local_api.worker.rate_factors = dict.fromkeys(range(33, 52), 10.0)
    level = {"steps": 80, "batch_size": 4, "learning_rate": 1e-3, "curve": "constant", "warmup_steps": 0}
    run_id = await local_api.start(optim=level, repair={"ask_before_rollback": is_asked})
    if is_asked:
        await local_api.until(run_id, "waiting")
        assert (await local_api.command(run_id, "resume", answer="approve")).status_code == 202
    run = await local_api.until(run_id, "succeeded")
    [report] = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert (report["verdict"], report["repair"]["lr_factor"]) == ("optimisation", pytest.approx(0.1))
    assert [rate["scale"] for rate in run["schedule"]["rates"]] == [pytest.approx(0.1), pytest.approx(1.0)]
    assert len(await local_api.events(run_id, "rate_given_back")) == 1


async def test_forgetting_changes_the_mix(local_api: Api) -> None:
    local_api.worker.held_out_loss = [3.0, 3.4, 3.0]
    run_id = await local_api.start(data=TWO_DOMAINS)
    run = await local_api.until(run_id, "succeeded")
    [segment] = run["schedule"]["mix"]
    assert segment["step"] == 40
    assert segment["weights"]["chat"] > segment["weights"]["code"]
    assert len(await local_api.events(run_id, "mix_changed")) == 1


SCORES = [3.0, 2.6, 2.5, 2.45, 2.42]
"""Of the steps 0, 40, 80, 120 and 160, when the evaluation detector has armed."""
LONG = {"steps": 240, "batch_size": 4}


async def test_score_of_a_damaged_state_is_proven_by_training_again_and_rolled_back(api: Api) -> None:
    api.worker.held_out_loss = [*SCORES, 3.9, 2.41]
    run_id = await api.start(optim=LONG)
    run = await api.until(run_id, "succeeded")
    [report] = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert [(one["kind"], one["domain"], one["step"]) for one in report["anomalies"]] == [
        ("evaluation_drop", "chat", 200)
    ]
    assert (report["verdict"], report["sound_step"], report["replay_steps"]) == ("state", 190, 10)
    assert (report["repair_state"], report["probation_ends_step"]) == ("proven", 231)
    assert run["schedule"]["branches"] == [{"generation": 1, "step": 190}]
    assert len(await api.events(run_id, "repair_proven")) == 1
    assert await api.events(run_id, "mix_changed") == []


async def test_fall_that_comes_back_when_trained_again_asks_once_even_at_the_end(local_api: Api) -> None:
    local_api.worker.held_out_loss = [*SCORES, 3.9, 3.9]
    run_id = await local_api.start(optim={"steps": 200, "batch_size": 4})
    await local_api.until(run_id, "waiting")
    [review] = (await local_api.client.get("/reviews", params={"status": "open"})).json()["reviews"]
    assert review["proposal"]["rollback_to_step"] == 160
    assert (await local_api.command(run_id, "resume", answer="reject")).status_code == 202
    run = await local_api.until(run_id, "succeeded")
    assert (run["step"], run["generation"]) == (200, 0)
    assert len(await local_api.events(run_id, "review_requested")) == 1


@pytest.mark.parametrize(
    ("loss", "calmer_ends"),
    [
        pytest.param(math.nan, 44, id="no-number-is-always-found"),
        pytest.param(30.0, 56, id="a-spike-16-steps-after-the-course-changed"),
    ],
)
async def test_fault_that_comes_back_after_a_rollback_fails_its_probation_and_climbs(
    api: Api, loss: float, calmer_ends: int
) -> None:
    api.worker.transient_steps = {33}
    api.worker.transient_loss = loss
    api.worker.strikes_again = 1
    run_id = await api.start(optim={"steps": 80, "batch_size": 4})
    run = await api.until(run_id, "succeeded")
    reports = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert [(one["verdict"], one["repair_state"], one["repair"]["lr_factor"]) for one in reports] == [
        ("transient", "failed", None), ("transient", "proven", 0.5),
    ]  # fmt: skip
    assert [one["probation_ends_step"] for one in reports] == [44, calmer_ends]
    assert len(await api.events(run_id, "repair_failed")) == 1
    assert run["review_id"] is None


async def test_repair_is_not_proven_while_its_detector_is_blind_after_another_change(local_api: Api) -> None:
    local_api.worker.transient_steps = {33}
    local_api.worker.transient_loss = 30.0
    local_api.worker.held_out_loss = [3.0, 3.4, 3.0]
    run_id = await local_api.start(data=TWO_DOMAINS, optim={"steps": 80, "batch_size": 4})
    run = await local_api.until(run_id, "succeeded")
    assert [segment["step"] for segment in run["schedule"]["mix"]] == [40]
    [report] = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert (report["repair_state"], report["probation_ends_step"]) == ("proven", 66), "44 without the change"
    [proven] = await local_api.events(run_id, "repair_proven")
    assert proven["step"] == 70


async def test_no_more_clusters_of_a_window_are_replayed_than_the_policy_allows(local_api: Api) -> None:
    local_api.worker.poison = {"s124", "s152"}
    run_id = await local_api.start(repair={"max_clusters": 1})
    await local_api.until(run_id, "succeeded")
    first = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"][0]
    assert {anomaly["step"] for anomaly in first["anomalies"]} == {31, 38}
    explained = [replay for replay in first["replays"] if replay["name"] == "as_it_was"]
    assert [max(step["step"] for step in replay["steps"]) for replay in explained] == [31]
    assert first["reasons"][-1] == "Not replayed, for max_clusters allows no more: step 38."


async def test_replays_keep_to_a_budget_and_nobody_is_banned_for_want_of_them(api: Api) -> None:
    api.worker.poison = {LATE_POISON, EARLY_POISON}
    run_id = await api.start(optim={"steps": 60, "batch_size": 4}, repair={"max_replayed_steps_per_1000": 20})
    run = await api.until(run_id, "succeeded")
    first, second = (await api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    assert first["culprits"] == [EARLY_POISON]
    assert [replay["name"] for replay in second["replays"]] == ["as_it_was", "without_suspects", "from_checkpoint:20"]
    assert (second["verdict"], second["culprits"], second["unproven"]) == ("data", [], [LATE_POISON])
    assert f"have trained {first['replay_steps']} steps within the last 1000" in second["reasons"][-1]
    assert [entry["sample_id"] for entry in run["schedule"]["blacklist"]] == [EARLY_POISON]


async def test_crowd_of_suspects_is_bisected_within_the_bound_on_replays(local_api: Api) -> None:
    crowd = {"s120", "s121", "s122", "s124", "s125"}
    local_api.worker.poison = crowd
    run_id = await local_api.start(repair={"max_replays": 21})
    run = await local_api.until(run_id, "succeeded")
    [report] = (await local_api.client.get(f"/runs/{run_id}/diagnoses")).json()["diagnoses"]
    names = [replay["name"] for replay in report["replays"]]
    assert names[:4] == ["as_it_was", "without_suspects", "group:1.0", "group:1.1"]
    assert len(names) <= 21
    assert [name for name in names if name.startswith("without:")] == [f"without:{number}" for number in range(5)]
    assert report["replay_steps"] == sum(len(replay["steps"]) for replay in report["replays"]) + 10
    assert {*report["culprits"]} == crowd == {entry["sample_id"] for entry in run["schedule"]["blacklist"]}


async def test_commands_hold_from_the_next_step_boundary_and_say_so(api: Api) -> None:
    api.worker.step_s = 0.05
    run_id = await api.start()
    await api.until(run_id, "running")
    for kind, body in [
        ("set_lr", {"learning_rate": 1e-4}),
        ("set_grad_clip", {"max_norm": 0.5}),
        ("set_mix", {"weights": {"chat": 2.0}}),
        ("skip_batch", {"step": 50}),
        ("blacklist_samples", {"sample_ids": ["s236"]}),
    ]:
        accepted = await api.command(run_id, kind, **body)
        assert accepted.status_code == 202
        assert "at the next step boundary, at step" in accepted.json()["outcome"]
    run = await api.until(run_id, "succeeded", within_s=60)
    told = (await api.client.get(f"/runs/{run_id}/commands")).json()["commands"]
    assert [record["status"] for record in told] == ["applied"] * 5
    assert all(record["outcome"] == f"holds from step {record['applied_step']}" for record in told)
    assert run["schedule"]["rates"][-1]["scale"] == pytest.approx(0.5)
    assert run["schedule"]["clips"][-1]["max_norm"] == 0.5
    assert run["schedule"]["mix"][-1]["weights"] == {"chat": 2.0}
    steps = (await api.client.get(f"/runs/{run_id}/steps")).json()["steps"]
    assert [step["step"] for step in steps] == list(range(60))
    assert [step["step"] for step in steps if step["withheld"] == "skipped"] == [50]
    assert "s236" not in await sample_ids(api, run_id)
    assert await api.events(run_id, "anomaly_detected") == [], "a step that a human skipped is no anomaly"


async def test_pause_holds_and_resume_goes_on(api: Api) -> None:
    api.worker.step_s = 0.02
    run_id = await api.start()
    await api.until(run_id, "running")
    await api.command(run_id, "pause")
    paused = await api.until(run_id, "paused")
    trained, jobs = list(api.worker.windows), dict(api.worker.jobs)
    await asyncio.sleep(1)  # several windows would fit in
    assert (await api.run(run_id))["step"] == paused["step"] < 60
    assert (api.worker.windows, api.worker.jobs) == (trained, jobs)
    assert (await api.command(run_id, "resume")).status_code == 202
    assert (await api.until(run_id, "succeeded"))["step"] == 60


async def test_rollback_command_begins_a_new_generation(api: Api) -> None:
    api.worker.step_s = 0.02
    run_id = await api.start(optim={"steps": 40, "batch_size": 4})
    await api.until(run_id, "running")
    await api.command(run_id, "pause")
    paused = await api.until(run_id, "paused")
    too_far = await api.command(run_id, "rollback", step=paused["step"] + 5)
    assert (too_far.status_code, too_far.json()["code"]) == (409, "command_impossible")
    assert (await api.command(run_id, "rollback", step=0)).status_code == 202
    await api.command(run_id, "resume")
    run = await api.until(run_id, "succeeded")
    assert (run["generation"], run["step"]) == (1, 40)
    assert any(window.startswith(f"{run_id}:1:") for window in api.worker.windows)


async def test_stop_keeps_what_was_trained(api: Api) -> None:
    api.worker.step_s = 0.02
    run_id = await api.start()
    async with asyncio.timeout(30):
        while (await api.run(run_id))["step"] < 2:
            await asyncio.sleep(0.01)
    assert (await api.command(run_id, "stop", key="once")).status_code == 202
    run = await api.until(run_id, "stopped")
    assert run["step"] >= 2
    assert run["export"]["adapter_path"]
    late = await api.command(run_id, "set_lr", learning_rate=1e-4)
    assert (late.status_code, late.json()["code"]) == (409, "run_finished")
    assert (await api.command(run_id, "stop", key="once")).status_code == 202, "the same command again is no new one"


async def test_stop_ends_a_run_that_waits_for_a_human(local_api: Api) -> None:
    local_api.worker.poison = {EARLY_POISON}
    run_id = await local_api.start(repair={"ask_before_rollback": True})
    await local_api.until(run_id, "waiting")
    other = await local_api.start()
    review_id = f"{run_id}:0:1:d:review"
    foreign = await local_api.command(other, "resume", review_id=review_id)
    assert (foreign.status_code, foreign.json()["code"]) == (404, "review_not_found")
    await local_api.command(run_id, "stop")
    await local_api.until(run_id, "stopped")
    late = await local_api.command(run_id, "resume", review_id=review_id)
    assert (late.status_code, late.json()["code"]) == (409, "run_finished")
    assert (await local_api.client.get(f"/reviews/{review_id}")).json()["status"] == "withdrawn"


async def test_worker_that_lies_costs_an_attempt_and_not_the_run(local_api: Api) -> None:
    local_api.worker.step_s = 0.01
    local_api.worker.next_answers = [
        Response("not json", media_type="application/json"),
        Response(json.dumps({"job_id": "other", "spec_hash": "x", "status": "running"}), media_type="application/json"),
    ]
    run_id = await local_api.start(data={"domains": {"chat": {"path": "/data/chat.jsonl"}}})
    await local_api.until(run_id, "succeeded")
    failed = await local_api.events(run_id, "window_failed")
    assert [event["details"]["code"] for event in failed] == ["worker_answer_invalid"] * 2
    assert [window.rsplit(":", 1)[1] for window in local_api.worker.windows] == [str(index) for index in range(6)]


async def test_worker_that_restarts_gets_run_and_window_again(api: Api) -> None:
    api.worker.step_s = 0.02
    run_id = await api.start()
    await api.until(run_id, "running")
    while not api.worker.windows:
        await api.run(run_id)
    api.worker.restart()
    await api.until(run_id, "succeeded", within_s=60)
    assert api.worker.windows == [f"{run_id}:0:{index}" for index in range(6)]


async def stopped_half_way(settings: Settings, worker: SimulatedWorker) -> str:
    """A run of six windows, whose process was stopped when two were done."""
    worker.step_s = 0.02
    async with running_api(settings, worker) as first:
        run_id = await first.start()
        while len(worker.windows) < 2:
            await first.run(run_id)
    return run_id


async def test_next_process_goes_on_where_the_last_one_was_stopped(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url)
    run_id = await stopped_half_way(settings, worker)
    async with running_api(settings, worker) as second:
        await second.until(run_id, "succeeded")
    assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]


async def test_next_process_goes_on_although_its_clock_is_an_hour_behind(
    tmp_path: Path, database_url: str | None, worker: SimulatedWorker, worker_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path, database_url, worker_url)
    run_id = await stopped_half_way(settings, worker)
    behind = SimpleNamespace(time_ns=lambda: time.time_ns() - 3600 * 10**9)
    monkeypatch.setattr(checkpoint_ids, "time", behind)
    monkeypatch.setattr(checkpoint_ids, "_last_v6_timestamp", None)  # another process has made no id yet
    async with running_api(settings, worker) as second:
        await second.until(run_id, "succeeded")
    assert worker.windows == [f"{run_id}:0:{index}" for index in range(6)]


async def test_unreachable_worker_is_said_and_waited_for(tmp_path: Path, worker: SimulatedWorker) -> None:
    async with serving(simulated_app(worker)) as url:
        port = int(url.rsplit(":", 1)[1])
    async with running_api(settings_for(tmp_path, None, url), worker) as api:
        run_id = await api.start()
        async with asyncio.timeout(30):
            while not await api.events(run_id, "worker_unreachable"):
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)  # ten more tries
        run = await api.run(run_id)
        assert run["problem"]["code"] == "worker_unreachable"
        assert url in run["problem"]["detail"]
        [unseen] = (await api.client.get("/workers")).json()["workers"]
        assert (unseen["url"], unseen["reachable"], unseen["state"]) == (url, False, "unseen")
        async with serving(simulated_app(worker), port=port):
            finished = await api.until(run_id, "succeeded")
            assert finished["problem"] is None
            assert len(await api.events(run_id, "worker_unreachable")) == 1


async def test_spec_that_the_worker_cannot_train_is_refused_at_the_door(local_api: Api) -> None:
    local_api.worker.load_problem = Problem(
        title="no", status=422, code="unknown_model_family", detail="model_type 'mamba' is not known"
    )
    refused = await local_api.client.post("/runs", json=spec_json())
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_model_family")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await local_api.client.get("/runs")).json()["runs"] == []


async def test_artifacts_tell_the_run_without_aft(local_api: Api, tmp_path: Path) -> None:
    local_api.worker.poison = {LATE_POISON}
    run_id = await local_api.start()
    await local_api.until(run_id, "succeeded")
    folder = tmp_path / "artifacts" / run_id
    told = await local_api.events(run_id)
    while len(list(folder.glob("windows/*.json"))) < 6 or len((folder / "events.jsonl").read_text().splitlines()) < len(
        told
    ):
        await local_api.run(run_id)
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert lines == told
    assert json.loads((folder / "diagnoses" / "000.json").read_text())["culprits"] == [LATE_POISON]
    assert [entry["sample_id"] for entry in json.loads((folder / "blacklist.json").read_text())["blacklist"]] == [
        LATE_POISON
    ]


async def test_bad_requests_get_a_problem_with_a_stable_code(local_api: Api) -> None:
    expected: dict[tuple[str, str, str | None], tuple[int, str]] = {
        ("GET", "/runs/none", None): (404, "run_not_found"),
        ("POST", "/runs/none/commands", '{"kind": "stop"}'): (404, "run_not_found"),
        ("GET", "/runs/none/events", None): (404, "run_not_found"),
        ("GET", "/runs/none/steps", None): (404, "run_not_found"),
        ("GET", "/reviews/none", None): (404, "review_not_found"),
        ("POST", "/runs", '{"name": "x"}'): (422, "validation_failed"),
        ("POST", "/runs", "not json"): (422, "validation_failed"),
        ("GET", "/nowhere", None): (404, "route_not_found"),
        ("DELETE", "/runs", None): (405, "method_not_allowed"),
        ("POST", "/slack/interactions", "payload=x"): (401, "bad_slack_signature"),
    }
    answers = {
        case: await local_api.client.request(
            case[0], case[1], content=case[2], headers={"content-type": "application/json"}
        )
        for case in expected
    }
    assert {case: (answer.status_code, answer.json()["code"]) for case, answer in answers.items()} == expected
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}


async def test_unknown_commands_and_values_are_refused_by_field(local_api: Api) -> None:
    run_id = await local_api.start()
    unknown = await local_api.command(run_id, "explode")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "validation_failed")
    assert "set_lr" in unknown.json()["detail"]
    negative = await local_api.command(run_id, "set_lr", learning_rate=-1)
    assert negative.json()["facts"]["fields"][0]["given"] == -1
    nothing = await local_api.command(run_id, "resume")
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_resume")
