"""Plan the repair: one rung of the ladder, with its reasons in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from aft_contracts import DiagnosisReport, Repair, RepairKind, RepairPolicy, Verdict

REPAIR_SPAN_STEPS = 1000
"""Steps over which `max_repairs_per_1000_steps` counts."""


@dataclass(frozen=True, kw_only=True)
class IncidentHistory:
    """What was already done: on this incident, and on this run."""

    attempts: int = 0
    """Repairs already made for this incident."""
    repair_steps: tuple[int, ...] = ()
    """Step of each repair made on the run so far."""
    blacklisted: Mapping[str, int]
    """Rows already blacklisted, by domain."""
    domain_rows: Mapping[str, int]
    """Rows that can be drawn, by domain."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """Where the run stands, and where it can go back to."""

    step: int
    """Optimizer steps attempted so far."""
    clip_norm: float
    """Clip norm that holds now."""
    checkpoint_steps: tuple[int, ...]
    """Steps of the committed checkpoints of this lineage, oldest first."""
    probation_steps: int
    """Healthy steps after a checkpoint before it may be rolled back to."""


def plan_repair(
    diagnosis: DiagnosisReport, history: IncidentHistory, policy: RepairPolicy, *, course: Course
) -> Repair:
    """The repair for `diagnosis`; an escalation that proposes it where a cap or the policy wants a human.

    | verdict      | no bad step applied      | some bad step applied                     |
    |--------------|--------------------------|-------------------------------------------|
    | transient    | continue                 | roll back and train the steps again       |
    | data         | blacklist                | blacklist and roll back                   |
    | optimisation | lower rate and clip      | roll back, lower rate and clip, re-warm   |
    | unknown      | ask a human              | ask a human, proposing to roll back       |

    Continuing without a change is never capped: it moves on.
    """
    repair = _rung(diagnosis, policy, course)
    if diagnosis.verdict is Verdict.UNKNOWN:
        proposal = repair if repair.rollback_to_step is not None else None
        return _ask(proposal, "The cause is unknown, so a human decides.")
    if repair.kind is RepairKind.CONTINUE:
        return repair
    objections = [
        *_reached_caps(history, policy, course),
        *_crowded_domains(diagnosis, repair, history, policy),
    ]
    if policy.ask_before_rollback and repair.rollback_to_step is not None:
        objections.append("The policy asks a human before each rollback (ask_before_rollback).")
    return _ask(repair, *objections) if objections else repair


def rollback_target(first_bad_step: int, course: Course) -> int:
    """The newest checkpoint that was past its probation when `first_bad_step` came; 0, the start, if there is none."""
    proven = [step for step in course.checkpoint_steps if step + course.probation_steps <= first_bad_step]
    return max(proven, default=0)


def _rung(diagnosis: DiagnosisReport, policy: RepairPolicy, course: Course) -> Repair:
    applied = [anomaly.step for anomaly in diagnosis.anomalies if anomaly.applied]
    target = rollback_target(min(applied), course) if applied else None
    moved = (
        _why_back(min(applied), target) if target is not None else "Every bad update was withheld: no weight to undo."
    )
    match diagnosis.verdict:
        case Verdict.DATA:
            blamed = f"Blacklisting {_samples(diagnosis.culprits)}: the replay was clean without."
            return Repair(
                kind=RepairKind.BLACKLIST,
                blacklist=diagnosis.culprits,
                rollback_to_step=target,
                reasons=(blamed, moved),
            )
        case Verdict.OPTIMISATION:
            return _calmer(policy, course, target, moved)
        case _:
            kind = RepairKind.CONTINUE if target is None else RepairKind.ROLLBACK
            why = "The fault did not come back when replayed." if diagnosis.verdict is Verdict.TRANSIENT else ""
            return Repair(kind=kind, rollback_to_step=target, reasons=tuple(filter(None, (why, moved))))


def _calmer(policy: RepairPolicy, course: Course, target: int | None, moved: str) -> Repair:
    clip_norm = course.clip_norm * policy.clip_factor
    return Repair(
        kind=RepairKind.ADJUST if target is None else RepairKind.ROLLBACK,
        rollback_to_step=target,
        lr_factor=policy.lr_factor,
        clip_norm=clip_norm,
        rewarmup_steps=policy.rewarmup_steps,
        reasons=(
            "The fault comes back without the suspects, so the course is to blame, not the data.",
            f"Learning rate times {policy.lr_factor:g}, clip norm {course.clip_norm:g} to {clip_norm:g}, "
            f"re-warmed over {policy.rewarmup_steps} steps.",
            moved,
        ),
    )


def _reached_caps(history: IncidentHistory, policy: RepairPolicy, course: Course) -> list[str]:
    reached = []
    if history.attempts >= policy.max_attempts_per_incident:
        reached.append(
            f"{history.attempts} repairs of this incident were made; "
            f"max_attempts_per_incident is {policy.max_attempts_per_incident}."
        )
    recent = sum(1 for step in history.repair_steps if step > course.step - REPAIR_SPAN_STEPS)
    if recent >= policy.max_repairs_per_1000_steps:
        reached.append(
            f"{recent} repairs were made in the last {REPAIR_SPAN_STEPS} steps; "
            f"max_repairs_per_1000_steps is {policy.max_repairs_per_1000_steps}."
        )
    return reached


def _crowded_domains(
    diagnosis: DiagnosisReport, repair: Repair, history: IncidentHistory, policy: RepairPolicy
) -> list[str]:
    """Domains of which more than the allowed share would be blacklisted; one of unknown size counts as such."""
    domain_of = {suspect.sample_id: suspect.domain for suspect in diagnosis.suspects}
    fresh = Counter(domain_of[sample_id] for sample_id in repair.blacklist if sample_id in domain_of)
    objections = []
    for domain, count in sorted(fresh.items()):
        total, rows = history.blacklisted.get(domain, 0) + count, history.domain_rows.get(domain, 0)
        if total > policy.max_blacklist_share * rows:
            objections.append(
                f"{total} of {rows} rows of domain {domain} would be blacklisted; "
                f"max_blacklist_share is {policy.max_blacklist_share:g}."
            )
    return objections


def _ask(proposal: Repair | None, *objections: str) -> Repair:
    because = proposal.reasons if proposal else ()
    return Repair(kind=RepairKind.ESCALATE, reasons=(*objections, *because), proposal=proposal)


def _why_back(first_bad_step: int, target: int) -> str:
    return f"Step {first_bad_step} reached the weights: back to step {target}, the newest proven state before it."


def _samples(sample_ids: tuple[str, ...]) -> str:
    shown = ", ".join(sample_ids[:8])
    return shown if len(sample_ids) <= 8 else f"{shown} and {len(sample_ids) - 8} more"
