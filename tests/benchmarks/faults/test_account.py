"""What the API tells of a run, as an outcome."""

from typing import Any

from aft_contracts import DetectionSpec, EventKind, Verdict
from benchmarks.faults.account import Account
from benchmarks.faults.case import Case, Truth
from benchmarks.faults.outcome import Alarm, Finding, Incident


class Harmed(Case):
    """Something happens at step 95."""

    name = "harmed"

    @property
    def truth(self) -> Truth:
        return Truth(first_step=95, verdict=Verdict.STATE)


def window(index: int, generation: int, start: int, end: int) -> dict[str, Any]:
    window_id = f"r:{generation}:{index}"
    result = {"start_step": start, "end_step": end}
    return {"window_id": window_id, "index": index, "generation": generation, "start_step": start, "result": result}


def committed(index: int, generation: int, end: int) -> dict[str, Any]:
    details = {"window_id": f"r:{generation}:{index}"}
    return {"kind": EventKind.WINDOW_COMMITTED, "step": end, "details": details}


def alarmed(step: int, kind: str = "loss_spike") -> dict[str, Any]:
    return {"kind": EventKind.ANOMALY_DETECTED, "step": step, "details": {"anomaly": {"kind": kind}}}


def repaired(step: int, kind: str, back_to: int | None) -> dict[str, Any]:
    repair = {"kind": kind, "rollback_to_step": back_to}
    return {"kind": EventKind.REPAIR_CHOSEN, "step": step, "details": {"repair": repair}}


FAILED = {"kind": EventKind.REPAIR_FAILED, "step": 100, "details": {}}


def account(**changes: Any) -> Account:
    """Ninety healthy steps, an alarm in the tenth window, back to its start, the same again, back further, and on."""
    facts: dict[str, Any] = {
        "run": {
            "status": "succeeded",
            "schedule": {"blacklist": [], "rates": [], "mix": []},
            "evaluations": [{"scores": {"held_out": {"loss": 4.0}}}, {"scores": {"held_out": {"loss": 3.5}}}],
        },
        "windows": [
            *(window(index, 0, 10 * index, 10 * index + 10) for index in range(10)),
            window(10, 1, 90, 100), window(11, 2, 80, 90), window(12, 2, 90, 100),
        ],
        "events": [
            *(committed(index, 0, 10 * index + 10) for index in range(10)),
            alarmed(95), alarmed(96, "drift"), repaired(100, "roll_back", 90),
            committed(10, 1, 100), alarmed(95), FAILED, repaired(100, "calm_down", 80),
            committed(11, 2, 90), committed(12, 2, 100),
        ],
        "diagnoses": [
            {"verdict": "state", "anomalies": [{"step": 96}, {"step": 95}], "culprits": [], "unproven": [],
             "repair": None, "reasons": ["so"], "replay_seconds": 1.5, "replay_steps": 24},
        ],
    }  # fmt: skip
    return Account(**facts | changes)


def test_an_alarm_knows_how_much_was_trained_when_it_was_raised() -> None:
    assert account().alarms() == (
        Alarm(step=95, after=100, kind="loss_spike"),
        Alarm(step=96, after=100, kind="drift"),
        Alarm(step=95, after=110, kind="loss_spike"),
    )


def test_a_repair_that_did_not_hold_and_the_next_are_one_incident() -> None:
    assert account().incidents() == (Incident(repairs=("roll_back", "calm_down"), lost_steps=30),)
    held = [repaired(100, "roll_back", 90), repaired(120, "continue", None)]
    assert account(events=held).incidents() == (
        Incident(repairs=("roll_back",), lost_steps=10),
        Incident(repairs=("continue",), lost_steps=0),
    )


def test_an_outcome_counts_steps_as_they_were_trained() -> None:
    made = account().outcome(Harmed(0), DetectionSpec(), version="v", questions=1, seconds=2.0)
    assert (made.steps, made.first_step, made.harmed_after) == (130, 95, 95)
    assert made.findings == (Finding(verdict="state", first_step=95, last_step=96),)
    assert (made.loss, made.questions, made.replayed_steps, made.version) == (3.5, 1, 24, "v")


def test_steps_count_as_armed_once_drift_is_and_from_anew_after_a_change_of_course() -> None:
    detection = DetectionSpec(cusum_lag=48, min_steps=16)
    made = account().outcome(Harmed(0), detection, version="v", questions=0, seconds=0)
    assert made.armed_steps == 36 + 10 + 20  # from step 64 on, and what was trained again
    assert made.armed_before == 95 - 64
    for change in (
        {"mix": [{"step": 20, "weights": {"chat": 1.0}}]},
        {"rates": [{"step": 20, "scale": 0.5}]},
        {"clips": [{"step": 20, "max_norm": 0.5}]},
    ):
        run = account().run | {"schedule": account().run["schedule"] | change}
        changed = account(run=run).outcome(Harmed(0), detection, version="v", questions=0, seconds=0)
        assert changed.armed_steps == 16 + 10 + 16


def test_a_run_that_was_stopped_has_no_loss() -> None:
    stopped = account(run=account().run | {"status": "stopped"})
    assert stopped.outcome(Harmed(0), DetectionSpec(), version="v", questions=0, seconds=0).loss is None
