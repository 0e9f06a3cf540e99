"""The ladder of repairs."""

from datetime import UTC, datetime

import pytest

from aft_api.healing.planner import Course, IncidentHistory, plan_repair, rollback_target
from aft_contracts import AnomalyKind, DiagnosisReport, Repair, RepairKind, RepairPolicy, Verdict

POLICY = RepairPolicy()
COURSE = Course(step=50, clip_norm=1.0, checkpoint_steps=(0, 10, 20, 30, 40, 50), probation_steps=2)
FRESH = IncidentHistory(blacklisted={}, domain_rows={"chat": 100})


@pytest.fixture
def diagnose(lab):
    def diagnosis(verdict: str, applied: dict[int, bool], culprits: tuple[str, ...] = ()) -> DiagnosisReport:
        return DiagnosisReport(
            diagnosis_id="d1",
            run_id="run",
            window_id="run:0:4",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            anomalies=tuple(lab.anomaly(step, applied=was_applied) for step, was_applied in applied.items()),
            suspects=tuple(lab.suspect(culprit, min(applied)) for culprit in culprits),
            verdict=Verdict(verdict),
            culprits=culprits,
            reasons=("because",),
        )

    return diagnosis


CALMER = {"lr_factor": 0.5, "clip_norm": 0.5, "rewarmup_steps": 8}


@pytest.mark.parametrize(
    ("verdict", "applied", "culprits", "expected"),
    [
        pytest.param(
            "transient", {44: False}, (), {"kind": "rollback", "rollback_to_step": 40}, id="transient-withheld"
        ),
        pytest.param("state", {44: False}, (), {"kind": "rollback", "rollback_to_step": 40}, id="state-withheld"),
        pytest.param("transient", {44: True}, (), {"kind": "rollback", "rollback_to_step": 40}, id="transient-applied"),
        pytest.param("data", {44: False}, ("x",), {"kind": "blacklist", "blacklist": ("x",)}, id="data-withheld"),
        pytest.param(
            "data", {44: False, 45: True}, ("x",),
            {"kind": "blacklist", "blacklist": ("x",), "rollback_to_step": 40}, id="data-applied",
        ),
        pytest.param(
            "optimisation", {44: False}, (),
            {"kind": "rollback", "rollback_to_step": 40, **CALMER}, id="optimisation-withheld",
        ),
        pytest.param(
            "optimisation", {44: True, 45: True}, (),
            {"kind": "rollback", "rollback_to_step": 40, **CALMER}, id="optimisation-applied",
        ),
        pytest.param("unknown", {44: False}, (), {"kind": "escalate"}, id="unknown-withheld"),
    ],
)  # fmt: skip
def test_rung(diagnose, verdict, applied, culprits, expected) -> None:
    repair = plan_repair(diagnose(verdict, applied, culprits), FRESH, POLICY, course=COURSE)
    assert repair == Repair(**expected, reasons=repair.reasons)
    assert repair.reasons
    assert all(reason for reason in repair.reasons)


@pytest.mark.parametrize(
    ("verdict", "applied", "target"),
    [
        pytest.param("transient", {44: False}, 30, id="transient"),
        pytest.param("state", {44: False}, 30, id="state"),
        pytest.param("data", {44: True}, 30, id="data"),
        pytest.param("optimisation", {44: True}, 40, id="a-clean-replay-says-nothing-of-a-bad-course"),
    ],
)
def test_a_checkpoint_that_a_clean_replay_proved_is_gone_back_to(diagnose, verdict, applied, target) -> None:
    proven = diagnose(verdict, applied, ("x",) if verdict == "data" else ()).model_copy(update={"sound_step": 30})
    assert plan_repair(proven, FRESH, POLICY, course=COURSE).rollback_to_step == target


def test_a_proven_checkpoint_needs_no_probation(diagnose) -> None:
    proven = diagnose("data", {41: True}, ("x",)).model_copy(update={"sound_step": 40})
    assert plan_repair(proven, FRESH, POLICY, course=COURSE).rollback_to_step == 40
    assert rollback_target(41, COURSE) == 30


def test_a_gradient_that_exploded_for_a_moment_and_was_withheld_changes_nothing(diagnose, lab) -> None:
    report = diagnose("optimisation", {44: False, 45: False})
    spikes = tuple(lab.anomaly(one.step, AnomalyKind.GRAD_SPIKE, applied=False) for one in report.anomalies)
    repair = plan_repair(report.model_copy(update={"anomalies": spikes}), FRESH, POLICY, course=COURSE)
    assert repair.kind is RepairKind.CONTINUE


def test_a_gradient_that_goes_on_exploding_makes_the_course_calmer(diagnose, lab) -> None:
    report = diagnose("optimisation", dict.fromkeys(range(41, 46), False))
    spikes = tuple(lab.anomaly(one.step, AnomalyKind.GRAD_SPIKE, applied=False) for one in report.anomalies)
    repair = plan_repair(report.model_copy(update={"anomalies": spikes}), FRESH, POLICY, course=COURSE)
    assert (repair.kind, repair.lr_factor) == (RepairKind.ROLLBACK, POLICY.lr_factor)


def test_how_long_a_gradient_may_explode_is_the_policy_s(diagnose, lab) -> None:
    report = diagnose("optimisation", {44: False, 45: False})
    spikes = tuple(lab.anomaly(one.step, AnomalyKind.GRAD_SPIKE, applied=False) for one in report.anomalies)
    policy = RepairPolicy(max_averted_steps=1)
    repair = plan_repair(report.model_copy(update={"anomalies": spikes}), FRESH, policy, course=COURSE)
    assert repair.kind is RepairKind.ROLLBACK


def test_a_rate_that_jumped_goes_back_to_what_it_was_from_before_the_jump(diagnose) -> None:
    jumped = diagnose("optimisation", {46: True}).model_copy(update={"rate_jump": 16.0, "rate_jump_step": 33})
    repair = plan_repair(jumped, FRESH, POLICY, course=COURSE)
    assert (repair.rollback_to_step, repair.lr_factor, repair.rate_from_step) == (30, 1 / 16, 33)
    assert (repair.clip_norm, repair.rewarmup_steps) == (None, 0), "the planned course comes back: none calmer"


def test_a_small_jump_lowers_the_rate_as_much_as_the_policy_says(diagnose) -> None:
    jumped = diagnose("optimisation", {46: True}).model_copy(update={"rate_jump": 1.5, "rate_jump_step": 33})
    assert plan_repair(jumped, FRESH, POLICY, course=COURSE).lr_factor == POLICY.lr_factor


@pytest.mark.parametrize(
    ("is_recorded", "words"),
    [
        (True, "the learning rate was up to 16 times the planned one"),
        (None, "the learning rate was up to 16 times the planned one"),  # as reports of older versions are
        (False, "the weights moved 16 times as far as the planned rate moved them, whatever the records say"),
    ],
)
def test_a_jump_is_told_as_it_was_found(diagnose, is_recorded, words) -> None:
    told = {"rate_jump": 16.0, "rate_jump_step": 30, "is_rate_jump_recorded": is_recorded}
    repair = plan_repair(diagnose("optimisation", {46: True}).model_copy(update=told), FRESH, POLICY, course=COURSE)
    assert f"From step 30 on {words}." in repair.reasons


def test_an_unknown_cause_that_reached_the_weights_proposes_to_go_back(diagnose) -> None:
    repair = plan_repair(diagnose("unknown", {44: True}), FRESH, POLICY, course=COURSE)
    assert repair.kind is RepairKind.ESCALATE
    assert repair.proposal is not None
    assert (repair.proposal.kind, repair.proposal.rollback_to_step) == (RepairKind.ROLLBACK, 40)


@pytest.mark.parametrize(
    ("first_bad_step", "target"),
    [(50, 40), (42, 40), (41, 30), (40, 30), (12, 10), (11, 0), (1, 0), (0, 0)],
)
def test_a_checkpoint_counts_from_the_end_of_its_probation(first_bad_step, target) -> None:
    assert rollback_target(first_bad_step, COURSE) == target


def test_without_a_proven_checkpoint_it_goes_back_to_the_start() -> None:
    assert rollback_target(9, Course(step=10, clip_norm=1, checkpoint_steps=(8,), probation_steps=2)) == 0


@pytest.mark.parametrize(
    ("history", "policy", "named"),
    [
        ({"attempts": 2}, {}, "max_attempts_per_incident"),
        ({"attempts": 0}, {"max_attempts_per_incident": 0}, "max_attempts_per_incident"),
        ({"repair_steps": tuple(range(20))}, {}, "max_repairs_per_1000_steps"),
        ({"blacklisted": {"chat": 5}}, {}, "max_blacklist_share"),
        ({"domain_rows": {}}, {}, "max_blacklist_share"),
        ({}, {"ask_before_rollback": True}, "ask_before_rollback"),
    ],
)
def test_a_cap_turns_the_repair_into_a_question_that_proposes_it(diagnose, history, policy, named) -> None:
    diagnosis = diagnose("data", {44: True}, ("x",))
    unhindered = plan_repair(diagnosis, FRESH, POLICY, course=COURSE)
    changed = IncidentHistory(**{"blacklisted": {}, "domain_rows": {"chat": 100}, **history})
    repair = plan_repair(diagnosis, changed, POLICY.model_copy(update=policy), course=COURSE)
    assert (repair.kind, repair.proposal) == (RepairKind.ESCALATE, unhindered)
    assert named in repair.reasons[0]
    assert (repair.blacklist, repair.rollback_to_step) == ((), None)


@pytest.mark.parametrize(
    ("history", "policy"),
    [
        ({"attempts": 1}, {}),
        ({"repair_steps": tuple(range(-1000, -980))}, {}),
        ({"blacklisted": {"chat": 4}}, {}),
        ({"blacklisted": {"other": 90}}, {}),
    ],
)
def test_below_the_caps_nobody_is_asked(diagnose, history, policy) -> None:
    changed = IncidentHistory(**{"blacklisted": {}, "domain_rows": {"chat": 100}, **history})
    repair = plan_repair(diagnose("data", {44: True}, ("x",)), changed, POLICY, course=COURSE)
    assert repair.kind is RepairKind.BLACKLIST


@pytest.mark.parametrize(
    ("kind_of_anomaly", "kind"), [(AnomalyKind.GRAD_SPIKE, "continue"), (AnomalyKind.LOSS_SPIKE, "escalate")]
)
def test_going_on_unchanged_is_never_capped_but_every_change_is(diagnose, lab, kind_of_anomaly, kind) -> None:
    worn = IncidentHistory(attempts=9, repair_steps=(50,) * 99, blacklisted={}, domain_rows={"chat": 100})
    anomalies = (lab.anomaly(44, kind_of_anomaly, applied=False),)
    report = diagnose("optimisation", {44: False}).model_copy(update={"anomalies": anomalies})
    assert plan_repair(report, worn, POLICY, course=COURSE).kind == kind


def test_asking_before_rollback_does_not_stop_a_repair_without_one(diagnose) -> None:
    policy = RepairPolicy(ask_before_rollback=True)
    repair = plan_repair(diagnose("data", {44: False}, ("x",)), FRESH, policy, course=COURSE)
    assert repair.kind is RepairKind.BLACKLIST


@pytest.mark.parametrize("verdict", ["transient", "state"])
def test_going_back_that_did_not_hold_is_not_done_again_alone(diagnose, verdict) -> None:
    before = plan_repair(diagnose(verdict, {44: True}), FRESH, POLICY, course=COURSE)
    assert (before.kind, before.lr_factor) == (RepairKind.ROLLBACK, None)
    once = IncidentHistory(attempts=1, vain=(before,), blacklisted={}, domain_rows={})
    calmer = plan_repair(diagnose(verdict, {44: True}), once, POLICY, course=COURSE)
    assert (calmer.kind, calmer.lr_factor, calmer.clip_norm) == (RepairKind.ROLLBACK, 0.5, 0.5)
    twice = IncidentHistory(attempts=2, vain=(before, calmer), blacklisted={}, domain_rows={})
    asked = plan_repair(diagnose(verdict, {44: True}), twice, POLICY, course=COURSE)
    assert (asked.kind, asked.proposal) == (RepairKind.ESCALATE, calmer)


@pytest.mark.parametrize(
    ("verdict", "kind", "proposed", "target"),
    [
        ("transient", "rollback", None, 30),
        ("state", "rollback", None, 30),
        ("optimisation", "escalate", "rollback", 30),
    ],
)
def test_a_model_that_stands_still_is_not_given_a_lower_rate(diagnose, lab, verdict, kind, proposed, target) -> None:
    stall = lab.anomaly(47, AnomalyKind.STALL, applied=True, score=8.0, threshold=8.0)
    report = diagnose(verdict, {47: True}).model_copy(update={"anomalies": (stall,)})
    repair = plan_repair(report, FRESH, POLICY, course=COURSE)
    made = repair.proposal or repair
    assert (repair.kind, repair.proposal and repair.proposal.kind) == (kind, proposed)
    assert (made.rollback_to_step, made.lr_factor) == (target, None), "it began at step 40, in an unproven checkpoint"


def test_an_unexplained_score_proposes_the_last_step_that_scored_well(diagnose, lab) -> None:
    drop = lab.anomaly(50, AnomalyKind.EVALUATION_DROP, applied=True, domain="chat")
    report = diagnose("unknown", {50: True}).model_copy(update={"anomalies": (drop,), "sound_step": 10})
    repair = plan_repair(report, FRESH, POLICY, course=COURSE)
    assert repair.kind is RepairKind.ESCALATE
    assert repair.proposal is not None
    assert repair.proposal.rollback_to_step == 10


def test_rows_that_were_not_shown_to_do_harm_change_nothing_and_nobody_is_asked(diagnose) -> None:
    report = diagnose("data", {44: True}).model_copy(update={"unproven": ("odd",)})
    repair = plan_repair(report, FRESH, POLICY.model_copy(update={"ask_before_rollback": True}), course=COURSE)
    assert repair == Repair(kind=RepairKind.CONTINUE, reasons=repair.reasons)
    assert "odd" in repair.reasons[0]


@pytest.mark.parametrize(("policy", "kind"), [("ask", RepairKind.ESCALATE), ("ban", RepairKind.BLACKLIST)])
def test_rows_that_were_not_shown_to_do_harm_are_banned_where_the_policy_says_so(diagnose, policy, kind) -> None:
    report = diagnose("data", {44: True}).model_copy(update={"unproven": ("odd",)})
    repair = plan_repair(report, FRESH, POLICY.model_copy(update={"unproven_rows": policy}), course=COURSE)
    assert repair.kind is kind
    ban = repair.proposal or repair
    assert (ban.kind, ban.blacklist, ban.rollback_to_step) == (RepairKind.BLACKLIST, ("odd",), None)


def test_a_culprit_is_banned_without_asking_whatever_becomes_of_those_beside_it(diagnose) -> None:
    report = diagnose("data", {44: False}, ("x",)).model_copy(update={"unproven": ("odd",)})
    repair = plan_repair(report, FRESH, POLICY.model_copy(update={"unproven_rows": "ask"}), course=COURSE)
    assert (repair.kind, repair.blacklist) == (RepairKind.BLACKLIST, ("x",))


@pytest.mark.parametrize("verdict", ["transient", "state", "optimisation"])
def test_a_culprit_found_beside_a_graver_fault_is_banned_too(diagnose, verdict) -> None:
    repair = plan_repair(diagnose(verdict, {44: True}, ("x",)), FRESH, POLICY, course=COURSE)
    assert (repair.kind, repair.blacklist) == (RepairKind.ROLLBACK, ("x",))


def test_a_culprit_is_banned_where_the_course_needs_no_change(diagnose, lab) -> None:
    report = diagnose("optimisation", {44: False, 45: False}, ("x",))
    spikes = tuple(lab.anomaly(one.step, AnomalyKind.GRAD_SPIKE, applied=False) for one in report.anomalies)
    repair = plan_repair(report.model_copy(update={"anomalies": spikes}), FRESH, POLICY, course=COURSE)
    assert (repair.kind, repair.blacklist, repair.rollback_to_step) == (RepairKind.BLACKLIST, ("x",), None)
