"""A question and what leads to it, for tests."""

from datetime import UTC, datetime
from typing import Any

from aft_api.reviews.question import Moment, write_question
from aft_contracts import (
    Anomaly,
    AnomalyKind,
    DiagnosisReport,
    Repair,
    RepairKind,
    Replay,
    Review,
    RunSpec,
    StepRecord,
    Suspect,
    Verdict,
)
from tests.api.conftest import spec_json

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROLL_BACK = Repair(
    kind=RepairKind.BLACKLIST, blacklist=("s54",), rollback_to_step=10, reasons=("Step 13 reached the weights.",)
)


def step_record(step: int, loss: float = 2.0, *, applied: bool = True) -> StepRecord:
    """A step without its samples."""
    return StepRecord(
        step=step, loss=loss, grad_norm=1.0, lr=1e-4, clip_norm=1.0, tokens=64, applied=applied, seconds=0.1
    )


def report(run_id: str = "r") -> DiagnosisReport:
    """Step 13 was poisoned by s54 and reached the weights."""
    anomaly = Anomaly(kind=AnomalyKind.SAMPLE_OUTLIER, step=13, value=9.0, score=20.0, threshold=6.0, applied=True)
    suspect = Suspect(sample_id="s54", domain="chat", step=13, loss=9.0, grad_norm=8.0, score=20.0)
    masked = Replay(name="without_suspects", masked_sample_ids=("s54",), steps=(step_record(12), step_record(13)))
    plain = Replay(name="as_it_was", masked_sample_ids=(), steps=(step_record(12), step_record(13, 9.0)))
    return DiagnosisReport(
        diagnosis_id=f"{run_id}:0:1:d",
        run_id=run_id,
        window_id=f"{run_id}:0:1",
        created_at=NOW,
        anomalies=(anomaly,),
        suspects=(suspect,),
        verdict=Verdict.DATA,
        culprits=("s54",),
        reasons=("Clean without s54.",),
        replays=(plain, masked),
    )


def question(run_id: str = "r", *, proposal: Repair | None = ROLL_BACK, now: datetime = NOW, **policy: Any) -> Review:
    """The question about it, under a policy for reviews."""
    spec = RunSpec.model_validate(spec_json(reviews=policy))
    repair = Repair(kind=RepairKind.ESCALATE, reasons=("The policy asks.",), proposal=proposal)
    steps = [step_record(step, 9.0 if step == 13 else 2.0) for step in range(20)]
    return write_question(report(run_id), repair, spec, Moment(step=20, steps=steps, now=now, created_at=NOW))
