"""The runs that are disturbed: a tiny model, one poisoned row, a question to a human and its one answer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import rows, write_rows
from tests.chaos.system import System

POISONED = "row-060"
"""Drawn at step 16, by the plan of seed 7."""
INTERRUPTED_STEPS = 200
OVERFLOWS = 3e38
"""A finite number in JSON; times a loss it is infinite in float32."""


def spec_of(folder: Path, model: Path, *, steps: int, window_steps: int) -> dict[str, Any]:
    """A run that asks a human about its poisoned row; its rows lie in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    poisoned = [{**row, "weight": OVERFLOWS} if row["id"] == POISONED else row for row in rows(96)]
    return {
        "name": "chaos",
        "model": {"path": str(model), "lora": {"rank": 2}},
        "data": {
            "domains": {"plain": {"path": str(write_rows(folder / "train.jsonl", poisoned))}},
            "evaluation": {"plain": str(write_rows(folder / "held_out.jsonl", rows(104)[96:]))},
            "max_length": 48,
        },
        "optim": {"steps": steps, "batch_size": 4, "learning_rate": 5e-3, "warmup_steps": 4},
        "window": {"steps": window_steps},
        "repair": {"max_attempts_per_incident": 0},
        "seed": 7,
    }


@dataclass(frozen=True, kw_only=True)
class Courses:
    """The specs of a schedule's two runs."""

    asking: dict[str, Any]
    """It asks a human about its poisoned row."""
    interrupted: dict[str, Any]
    """It learns too slowly for an anomaly, and its one window is long enough to be cancelled."""


def courses_in(folder: Path, model: Path, *, steps: int, window_steps: int) -> Courses:
    """Both, on rows that lie in `folder`; `steps` and `window_steps` are the asking one's."""
    asking = spec_of(folder / "asking", model, steps=steps, window_steps=window_steps)
    clean = write_rows(folder / "clean.jsonl", rows(96))
    return Courses(
        asking=asking,
        interrupted={
            **asking,
            "name": "interrupted",
            "data": {**asking["data"], "domains": {"plain": {"path": str(clean)}}},
            "optim": {**asking["optim"], "steps": INTERRUPTED_STEPS, "learning_rate": 1e-4},
            "window": {"steps": INTERRUPTED_STEPS},
        },
    )


def submit(system: System, spec: dict[str, Any], key: str) -> str:
    """Start a run, once however often it has to be said; its id."""
    told = {**spec, "notify": {"webhooks": [system.receiver.url]}}
    response = system.ask("POST", "/runs", json=told, headers={"Idempotency-Key": key})
    assert response.status_code == 201, response.text
    return str(response.json()["run_id"])


def answer_open_reviews(system: System) -> None:
    """Answer what is asked, once: go back two windows, and never draw the culprit again."""
    response = system.ask_once("GET", "/reviews", params={"state": "open"})
    if response is None or response.status_code != 200:
        return
    for review in response.json()["reviews"]:
        _answer(system, review)


def _answer(system: System, review: dict[str, Any]) -> None:
    path = f"/runs/{review['run_id']}"
    if review["proposal"] is None:  # a disk that was full for long, and that has room again by now
        body = {"kind": "resume", "review_id": review["review_id"]}
    else:
        body = _rollback(review, system.ask("GET", path).json())
    # One key for one answer: to say it again after a lost response is no second answer.
    key = {"Idempotency-Key": review["review_id"]}
    told = system.ask("POST", f"{path}/commands", json=body, headers=key)
    assert told.status_code == 202, told.text


def _rollback(review: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    proposal = review["proposal"]
    assert proposal["kind"] == "blacklist", json.dumps(review)
    back_to = max(0, run["step"] - 2 * run["spec"]["window"]["steps"])
    repair = {**proposal, "kind": "rollback", "rollback_to_step": back_to, "reasons": ["begin again without it"]}
    return {"kind": "resume", "review_id": review["review_id"], "answer": "edit", "repair": repair}
