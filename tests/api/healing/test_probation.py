"""Probation of repairs."""

from datetime import UTC, datetime

import pytest

from aft_api.healing.probation import came_back, probation_ends
from aft_contracts import AnomalyKind, DiagnosisReport, Repair, RepairKind, RepairPolicy, Verdict

POLICY = RepairPolicy(probation_steps=10)


def report(lab, verdict: str, *steps: int, kind: AnomalyKind = AnomalyKind.LOSS_SPIKE) -> DiagnosisReport:
    return DiagnosisReport(
        diagnosis_id="d",
        run_id="run",
        window_id="run:0:4",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        anomalies=tuple(lab.anomaly(step, kind) for step in steps),
        suspects=(),
        verdict=Verdict(verdict),
        reasons=("because",),
    )


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        pytest.param({"kind": "rollback", "rollback_to_step": 40}, 56, id="beyond-the-last-bad-step"),
        pytest.param({"kind": "blacklist", "blacklist": ("x",)}, 60, id="from-where-the-run-stands"),
        pytest.param({"kind": "continue"}, None, id="nothing-changed"),
        pytest.param({"kind": "escalate"}, None, id="a-question"),
    ],
)
def test_it_ends(lab, changes, ends) -> None:
    repair = Repair(**changes, reasons=("so",))
    assert probation_ends(report(lab, "data", 43, 45), repair, POLICY, step=50) == ends


@pytest.mark.parametrize(
    ("before", "lr_factor", "now", "is_back"),
    [
        pytest.param(("transient", 43), None, ("transient", 43), True, id="same-step-same-verdict"),
        pytest.param(("transient", 43), None, ("data", 43), False, id="same-step-other-cause"),
        pytest.param(("transient", 43), None, ("transient", 47), False, id="another-step"),
        pytest.param(("data", 43), None, ("data", 47), False, id="other-rows"),
        pytest.param(("data", 43), None, ("optimisation", 43), True, id="not-the-rows-after-all"),
        pytest.param(("optimisation", 43), 0.5, ("optimisation", 49), True, id="the-course-is-still-bad"),
        pytest.param(("optimisation", 43), 0.5, ("data", 49), False, id="rows-under-a-calmer-course"),
        pytest.param(("optimisation", 43), 0.5, ("optimisation", 60), False, id="after-its-probation"),
    ],
)
def test_the_incident_is_back(lab, before, lr_factor, now, is_back) -> None:
    repair = Repair(kind=RepairKind.ROLLBACK, rollback_to_step=40, lr_factor=lr_factor, reasons=("so",))
    assert came_back(report(lab, *before), repair, report(lab, *now), ends_step=54) is is_back
