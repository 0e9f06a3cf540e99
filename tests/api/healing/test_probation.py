"""Probation of repairs."""

from datetime import UTC, datetime

import pytest

from aft_api.healing.course import apply_repair
from aft_api.healing.detect import judge
from aft_api.healing.probation import came_back, probation_ends, proven_from
from aft_contracts import AnomalyKind, DiagnosisReport, Repair, RepairKind, RunSpec, Schedule, Verdict

SPEC = RunSpec.model_validate(
    {"model": {"path": "m"}, "data": {"domains": {"chat": {"path": "c"}}}, "repair": {"probation_steps": 10}}
)
CALMER = {"lr_factor": 0.5, "clip_norm": 0.5, "rewarmup_steps": 8}


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


def ends_of(diagnosis: DiagnosisReport, *, step: int, **changes: object) -> int | None:
    repair = Repair.model_validate({**changes, "reasons": ("so",)})
    changed = Schedule()
    if repair.kind not in (RepairKind.CONTINUE, RepairKind.ESCALATE):
        changed = apply_repair(changed, repair, step=step, cause="d", spec=SPEC.optim)
    return probation_ends(diagnosis, repair, SPEC, changed, step=step)


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        pytest.param({"kind": "rollback", "rollback_to_step": 40}, 56, id="beyond-the-last-bad-step"),
        pytest.param({"kind": "blacklist", "blacklist": ("x",)}, 60, id="from-where-the-run-stands"),
        pytest.param({"kind": "continue"}, None, id="nothing-changed"),
        pytest.param({"kind": "escalate"}, None, id="a-question"),
        pytest.param({"kind": "rollback", "rollback_to_step": 40, **CALMER}, 66, id="from-where-it-is-armed-again"),
        pytest.param({"kind": "rollback", "rollback_to_step": 40, "clip_norm": 0.5}, 66, id="after-another-clip-too"),
        pytest.param({"kind": "rollback", "rollback_to_step": 20, **CALMER}, 56, id="armed-before-the-incident"),
        pytest.param(
            {"kind": "rollback", "rollback_to_step": 30, "lr_factor": 0.1, "rate_from_step": 42},
            68,
            id="from-where-a-later-rate-arms-it-again",
        ),
    ],
)
def test_it_ends(lab, changes, ends) -> None:
    assert ends_of(report(lab, "data", 43, 45), step=50, **changes) == ends


@pytest.mark.parametrize(
    ("kind", "plain", "calmer"),
    [
        (AnomalyKind.NON_FINITE, 216, 216),
        (AnomalyKind.SAMPLE_OUTLIER, 216, 216),
        (AnomalyKind.REPETITION, 216, 216),
        (AnomalyKind.LOSS_SPIKE, 216, 226),
        (AnomalyKind.GRAD_SPIKE, 216, 226),
        (AnomalyKind.STALL, 216, 217),
        (AnomalyKind.DRIFT, 216, 273),
        (AnomalyKind.EVALUATION_DROP, 241, 401),
    ],
)
def test_it_lasts_until_what_found_the_incident_could_have_found_it_again(lab, kind, plain, calmer) -> None:
    diagnosis, back = report(lab, "state", 205, kind=kind), {"kind": "rollback", "rollback_to_step": 200}
    assert ends_of(diagnosis, step=210, **back) == plain
    assert ends_of(diagnosis, step=210, **back, **CALMER) == calmer


@pytest.mark.parametrize("kind", [AnomalyKind.LOSS_SPIKE, AnomalyKind.DRIFT, AnomalyKind.STALL])
def test_a_fault_that_goes_on_speaks_before_a_calmer_course_is_proven(lab, kind) -> None:
    """The same fault from the first step on that can be told from the course: the probation outlasts its alarm."""
    armed_from = 200
    ends = proven_from(report(lab, "optimisation", 205, kind=kind), SPEC, armed_from=armed_from)
    sick_from = ends - SPEC.repair.probation_steps
    noise = lab.trainer(5).rng.normal(0, 0.02, ends).tolist()
    changes = {
        AnomalyKind.LOSS_SPIKE: lambda step: {"loss": 9.0 if step >= sick_from else 3.0 + noise[step]},
        AnomalyKind.DRIFT: lambda step: {"loss": 3.0 + noise[step] + (0.3 if step >= sick_from else 0.0)},
        AnomalyKind.STALL: lambda step: {"loss": 3.0 + noise[step], "grad_norm": 0.0 if step >= 200 else 1.0},
    }[kind]
    steps = [lab.step(step, **changes(step)) for step in range(ends)]
    found = judge(steps[armed_from:], steps[:armed_from], SPEC.detection, armed_from=armed_from)
    assert kind in {one.kind for one in found}


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
