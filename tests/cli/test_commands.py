"""The commands: what they send, what they print, how they exit."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aft_cli.main import app
from aft_contracts import (
    Anomaly,
    AnomalyKind,
    DiagnosisReport,
    EventKind,
    Problem,
    Repair,
    RepairKind,
    RepairState,
    Replay,
    Resume,
    Review,
    ReviewStatus,
    RunStatus,
    Schedule,
    Suspect,
    Verdict,
)
from tests.cli.conftest import Aft
from tests.cli.scripted_api import AT, ScriptedApi

CONFIG = "model: {path: m}\ndata: {domains: {chat: {path: rows.jsonl}}}\n"


def _review(review_id: str = "v1") -> Review:
    proposal = Repair(kind=RepairKind.ROLLBACK, rollback_to_step=8, blacklist=("row-7",), reasons=("It was applied.",))
    return Review(
        review_id=review_id,
        run_id="r1",
        question="Roll back to step 8?",
        proposal=proposal,
        status=ReviewStatus.OPEN,
        created_at=AT,
    )


def _waiting(api: ScriptedApi) -> None:
    api.reviews["v1"] = _review()
    api.change(status=RunStatus.WAITING, review_id="v1")


def test_run_submits_the_file_with_absolute_paths(api: ScriptedApi, aft: Aft, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG)
    result = aft("run", str(tmp_path / "run.yaml"))
    assert (result.exit_code, result.stdout) == (0, "r2\n")
    assert api.runs["r2"].spec.data.domains["chat"].path == str(tmp_path / "rows.jsonl")
    assert "Idempotency-Key" not in api.headers[-1]
    assert aft("run", str(tmp_path / "run.yaml"), "--key", "k").exit_code == 0
    assert api.headers[-1]["Idempotency-Key"] == "k"


def test_wrong_config_is_one_screen_and_exit_2_and_nothing_is_sent(api: ScriptedApi, aft: Aft, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG + "optim: {steps: none, learningrate: 1}\n")
    result = aft("run", str(tmp_path / "run.yaml"))
    assert result.exit_code == 2
    for words in ("optim.steps", "'none'", "integer", "did you mean optim.learning_rate?"):
        assert words in result.stderr
    assert len(result.stderr.splitlines()) <= 24
    assert api.headers == []


def test_problem_of_the_api_is_title_detail_and_code_and_exit_1(aft: Aft) -> None:
    result = aft("status", "nobody")
    assert result.exit_code == 1
    for words in ("run not found", "There is no run 'nobody'.", "run_not_found"):
        assert words in result.stderr


def test_unreachable_api_exits_1_with_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["--api", url, "status"])
    assert result.exit_code == 1
    assert url in result.stderr
    assert "aft up" in result.stderr


def test_status_lists_runs_and_shows_one(api: ScriptedApi, aft: Aft) -> None:
    assert "r1" in aft("status").stdout
    shown = aft("status", "r1").stdout
    assert "running" in shown
    assert "3 of 100" in shown
    assert json.loads(aft("status", "r1", "--json").stdout) == api.runs["r1"].model_dump(mode="json")
    assert [run["run_id"] for run in json.loads(aft("status", "--json").stdout)] == ["r1"]


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["interrupt", "r1"], {"kind": "pause"}),
        (["stop", "r1"], {"kind": "stop", "review_id": None, "message": ""}),
    ],
)
def test_command_is_sent(api: ScriptedApi, aft: Aft, arguments: list[str], sent: dict[str, object]) -> None:
    result = aft(*arguments)
    assert result.exit_code == 0, result.stderr
    assert api.commands == [sent]
    assert "pending" in result.stdout


def test_command_for_a_finished_run_exits_1(api: ScriptedApi, aft: Aft) -> None:
    api.change(status=RunStatus.SUCCEEDED)
    result = aft("stop", "r1")
    assert result.exit_code == 1
    assert "run_finished" in result.stderr


def test_resume_of_a_waiting_run_asks_for_an_answer(api: ScriptedApi, aft: Aft) -> None:
    _waiting(api)
    refused = aft("resume", "r1")
    assert refused.exit_code == 1
    assert "aft review approve v1" in refused.stderr
    assert api.commands == []
    assert aft("resume", "r1", "--answer", "reject").exit_code == 0
    assert api.reviews["v1"].decision is not None
    assert api.reviews["v1"].decision.answer == "reject"


def test_resume_of_a_paused_run_answers_no_question(api: ScriptedApi, aft: Aft) -> None:
    _waiting(api)
    api.change(status=RunStatus.PAUSED)
    assert aft("resume", "r1").exit_code == 0
    [resumed] = api.commands
    assert resumed == Resume().model_dump(mode="json")
    assert api.reviews["v1"].decision is None


def test_events_are_printed_oldest_first(api: ScriptedApi, aft: Aft) -> None:
    api.happen(EventKind.RUN_CREATED, "Created.")
    api.happen(EventKind.RUN_STARTED, "Started.")
    assert [line.split()[1] for line in aft("events", "r1").stdout.splitlines()] == ["run_created", "run_started"]
    last = aft("events", "r1", "--after", "1", "--json").stdout
    assert [json.loads(line)["message"] for line in last.splitlines()] == ["Started."]


def test_diagnosis_is_shown_with_its_evidence(api: ScriptedApi, aft: Aft) -> None:
    assert "No incident" in aft("diagnose", "r1").stdout
    infinite = float("inf")
    anomaly = Anomaly(kind=AnomalyKind.NON_FINITE, step=4, value=infinite, score=infinite, threshold=0, applied=False)
    suspect = Suspect(sample_id="row-7", domain="chat", step=4, loss=infinite, grad_norm=1.0, score=infinite)
    api.diagnoses = [
        DiagnosisReport(
            diagnosis_id="d1",
            run_id="r1",
            window_id="r1:0:0",
            created_at=AT,
            anomalies=(anomaly,),
            suspects=(suspect,),
            verdict=Verdict.DATA,
            culprits=("row-7",),
            unproven=("row-8",),
            reasons=("Clean without row-7.",),
            replays=(Replay(name="as_it_was", masked_sample_ids=(), steps=()),),
            replay_steps=4,
            replay_seconds=0.5,
            repair=Repair(kind=RepairKind.BLACKLIST, blacklist=("row-7",), reasons=("The replay was clean.",)),
            repair_state=RepairState.ON_PROBATION,
            probation_ends_step=20,
        )
    ]
    shown = aft("diagnose", "r1").stdout
    for words in (
        *("verdict: data", "culprits: row-7", "Clean without row-7.", "non_finite", "withheld", "inf"),
        "not shown to do harm: row-8",
        *("1 replays, 4 steps, 0.5 s", "repair: blacklist, on probation until step 20"),
    ):
        assert words in shown
    assert json.loads(aft("diagnose", "r1", "--json").stdout)[0]["anomalies"][0]["value"] == "Infinity"


def test_blacklist_is_listed_with_its_evidence_and_lifted(api: ScriptedApi, aft: Aft) -> None:
    assert "No sample is blacklisted" in aft("blacklist", "list", "r1").stdout
    schedule = (
        Schedule()
        .with_blacklisted(["row-1"], step=3, cause="command:c1")
        .with_lifted(["row-1"], step=5)
        .with_blacklisted(["row-7", "row-8"], step=6, cause="repair:d1", diagnosis_id="d1")
    )
    api.change(schedule=schedule)
    shown = aft("blacklist", "list", "r1").output
    assert [words for words in ("row-7", "row-8", "d1", "repair:d1") if words not in shown] == [], shown
    assert "row-1" not in shown
    entries = json.loads(aft("blacklist", "list", "r1", "--lifted", "--json").stdout)
    assert [(entry["sample_id"], entry["until_step"]) for entry in entries] == [
        ("row-1", 5), ("row-7", None), ("row-8", None),
    ]  # fmt: skip
    assert aft("blacklist", "remove", "r1", "row-7").exit_code == 0
    assert aft("blacklist", "remove", "r1", "--all").exit_code == 0
    assert api.commands == [
        {"kind": "unblacklist_samples", "sample_ids": ["row-7"]},
        {"kind": "unblacklist_samples", "sample_ids": ["row-7", "row-8"]},
    ]


@pytest.mark.parametrize("arguments", [(), ("row-7", "--all")])
def test_lifting_bans_needs_either_names_or_all(api: ScriptedApi, aft: Aft, arguments: tuple[str, ...]) -> None:
    refused = aft("blacklist", "remove", "r1", *arguments)
    assert refused.exit_code != 0
    assert "samples_or_all" in refused.stderr
    assert api.commands == []


def test_workers_are_listed(aft: Aft) -> None:
    shown = aft("workers").stdout
    assert all(words in shown for words in ("http://w:1", "active", "1/2", "3 s ago", "http://w:2", "unseen", "never"))
    assert [worker["state"] for worker in json.loads(aft("workers", "--json").stdout)] == ["active", "unseen"]


def test_worker_is_drained_and_given_runs_again(aft: Aft) -> None:
    assert aft("workers", "drain", "a b").stdout == "a b: draining, 1 run(s)\n"
    assert aft("workers", "resume", "a b").stdout == "a b: active, 1 run(s)\n"


@pytest.mark.parametrize(("status", "exit_code"), [(RunStatus.SUCCEEDED, 0), (RunStatus.FAILED, 1)])
def test_watch_ends_with_the_run(api: ScriptedApi, aft: Aft, status: RunStatus, exit_code: int) -> None:
    problem = Problem(title="Boom", status=500, code="boom", detail="It broke.")
    api.happen(EventKind.RUN_STARTED, "Started.")
    api.change(status=status, problem=problem if status is RunStatus.FAILED else None)
    result = aft("watch", "r1")
    assert result.exit_code == exit_code
    assert "Started." in result.stdout
    assert ("boom" in result.stdout) == (status is RunStatus.FAILED)
