"""Plan the repair: one rung of the ladder, with its reasons in words."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from aft_contracts import Anomaly, AnomalyKind, DiagnosisReport, Repair, RepairKind, RepairPolicy, Verdict

SPAN_STEPS = 1000
"""Steps over which the policy's bounds per 1,000 steps count."""


@dataclass(frozen=True, kw_only=True)
class IncidentHistory:
    """What was already done: on this incident, and on this run."""

    attempts: int = 0
    """Repairs already made for this incident."""
    vain: tuple[Repair, ...] = ()
    """Those of them after which it came back."""
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

    | verdict      | no bad step applied                         | some bad step applied               |
    |--------------|---------------------------------------------|-------------------------------------|
    | transient    | roll back, train the steps again            | the same                            |
    | data         | blacklist who was proven to do harm         | blacklist them and roll back        |
    | state        | roll back to the checkpoint proven sound    | the same                            |
    | optimisation | roll back, lower rate and clip, re-warm;    | roll back, lower rate and clip,     |
    |              | continue where only a gradient was out      | re-warm                             |
    | unknown      | ask a human                                                                       |

    Whoever was proven to do harm is banned, whatever else is done. Who caused an alarm and was not, is banned as well,
    without going back, or a human is asked, or it is only told of: as `unproven_rows` says.

    One rung at a time: where an incident came back after a rollback that changed nothing else, the next is a calmer
    course, and where that was in vain too, a human. A model that stands still is not helped by a calmer course; where
    no older state moves either, a human is asked.

    A checkpoint from which a replay came out clean is sound: it needs no probation. Continuing without a change is
    never capped: it moves on.
    """
    repair = _banning(_rung(diagnosis, history, policy, course), diagnosis)
    if diagnosis.verdict is Verdict.UNKNOWN:
        proposal = repair if repair.rollback_to_step is not None else None
        return _ask(proposal, "The cause is unknown, so a human decides.")
    if _stands_still(diagnosis) and diagnosis.verdict is Verdict.OPTIMISATION:
        return _ask(_undone(diagnosis, course), "Nothing is learned any more, and no older state that was tried moves.")
    if repair.kind is RepairKind.CONTINUE:
        return repair
    objections = [
        *_reached_caps(history, policy, course),
        *_crowded_domains(diagnosis, repair, history, policy),
    ]
    if repair.blacklist and not diagnosis.culprits and policy.unproven_rows == "ask":
        objections.append("A human decides about rows that were not shown to do harm (unproven_rows is ask).")
    if policy.ask_before_rollback and repair.rollback_to_step is not None:
        objections.append("The policy asks a human before each rollback (ask_before_rollback).")
    return _ask(repair, *objections) if objections else repair


def rollback_target(first_bad_step: int, course: Course) -> int:
    """The newest checkpoint that was past its probation when `first_bad_step` came; 0, the start, if there is none."""
    proven = [step for step in course.checkpoint_steps if step + course.probation_steps <= first_bad_step]
    return max(proven, default=0)


def _rung(diagnosis: DiagnosisReport, history: IncidentHistory, policy: RepairPolicy, course: Course) -> Repair:
    is_plain = diagnosis.verdict in (Verdict.TRANSIENT, Verdict.STATE)
    if is_plain and history.vain and not _stands_still(diagnosis):
        return _calmer(diagnosis, policy, course, why="Going back alone did not hold, so the course gets calmer too.")
    match diagnosis.verdict:
        case Verdict.DATA:
            return _without_culprits(diagnosis, course) if diagnosis.culprits else _of_unproven(diagnosis, policy)
        case Verdict.OPTIMISATION:
            return _calmer(diagnosis, policy, course)
        case Verdict.TRANSIENT:
            return _again(
                diagnosis, course, "The fault did not come back when replayed, so what it left in memory goes too."
            )
        case Verdict.STATE:
            return _again(diagnosis, course, "The state is damaged, the data and the course are not.")
        case _:
            return _undone(diagnosis, course)


def _banning(repair: Repair, diagnosis: DiagnosisReport) -> Repair:
    """The repair, with the culprits banned that were found beside a graver fault."""
    if repair.blacklist or not diagnosis.culprits:
        return repair
    reason = f"Blacklisting {_samples(diagnosis.culprits)} too: they were proven to do harm."
    kind = RepairKind.BLACKLIST if repair.kind is RepairKind.CONTINUE else repair.kind
    changes = {"kind": kind, "blacklist": diagnosis.culprits, "reasons": (*repair.reasons, reason)}
    return repair.model_copy(update=changes)


def _without_culprits(diagnosis: DiagnosisReport, course: Course) -> Repair:
    applied = _applied(diagnosis)
    target = _sound_before(min(applied), diagnosis, course) if applied else None
    return Repair(
        kind=RepairKind.BLACKLIST,
        blacklist=diagnosis.culprits,
        rollback_to_step=target,
        reasons=(
            f"Blacklisting {_samples(diagnosis.culprits)}: proven to do harm.",
            _why_back(min(applied), target) if target is not None else WITHHELD,
        ),
    )


def _of_unproven(diagnosis: DiagnosisReport, policy: RepairPolicy) -> Repair:
    """What becomes of rows that caused an alarm and no measurable harm: nothing has to be undone."""
    found = f"{_samples(diagnosis.unproven)}: the cause of the alarm, not shown to do harm."
    if policy.unproven_rows == "tell":
        return Repair(kind=RepairKind.CONTINUE, reasons=(found,))
    return Repair(kind=RepairKind.BLACKLIST, blacklist=diagnosis.unproven, reasons=(f"Blacklisting {found}",))


def _again(diagnosis: DiagnosisReport, course: Course, why: str) -> Repair:
    """Back to a state from which the same steps were clean, and on as before."""
    first = _first_bad(diagnosis)
    target = _sound_before(first, diagnosis, course)
    reason = f"Back to step {target}, a state before step {first}."
    return Repair(kind=RepairKind.ROLLBACK, rollback_to_step=target, reasons=(why, reason))


def _undone(diagnosis: DiagnosisReport, course: Course) -> Repair:
    """Back to before the first bad step that reached the weights, if one did."""
    applied = _applied(diagnosis)
    if not applied:
        return Repair(kind=RepairKind.CONTINUE, reasons=(WITHHELD,))
    target = _sound_before(min(applied), diagnosis, course)
    return Repair(kind=RepairKind.ROLLBACK, rollback_to_step=target, reasons=(_why_back(min(applied), target),))


def _calmer(
    diagnosis: DiagnosisReport,
    policy: RepairPolicy,
    course: Course,
    *,
    why: str = "The fault comes back without the suspects, so the course is to blame, not the data.",
) -> Repair:
    """Back to before the harm, and on with a lower rate and clip; on as before where the guard averted all harm."""
    if _was_averted(diagnosis, policy):
        averted = (
            f"Only the gradient was out, in {len(diagnosis.anomalies)} steps that were all withheld: no harm was done."
        )
        return Repair(kind=RepairKind.CONTINUE, reasons=(averted,))
    if diagnosis.rate_jump is not None and diagnosis.rate_jump_step is not None:
        return _without_jump(diagnosis, policy, course, diagnosis.rate_jump, diagnosis.rate_jump_step, why=why)
    harm = max(0, _first_bad(diagnosis) - 1)  # a loss is measured before its own update
    target = rollback_target(harm, course)
    clip_norm = course.clip_norm * policy.clip_factor
    return Repair(
        kind=RepairKind.ROLLBACK,
        rollback_to_step=target,
        lr_factor=policy.lr_factor,
        clip_norm=clip_norm,
        rewarmup_steps=policy.rewarmup_steps,
        reasons=(
            why,
            f"Learning rate times {policy.lr_factor:.3g}, clip norm {course.clip_norm:g} to {clip_norm:g}, "
            f"re-warmed over {policy.rewarmup_steps} steps.",
            f"Back to step {target}: the weights took harm at step {harm} or before.",
        ),
    )


def _without_jump(
    diagnosis: DiagnosisReport, policy: RepairPolicy, course: Course, jump: float, since: int, *, why: str
) -> Repair:
    """Back to before a jump of the rate, and from its first step on with the rate divided by it.

    That is the rate that was planned, so the course has no need to get calmer besides.
    """
    target = max((step for step in course.checkpoint_steps if step <= since), default=0)
    lr_factor = min(policy.lr_factor, 1.0 / jump)
    return Repair(
        kind=RepairKind.ROLLBACK,
        rollback_to_step=target,
        lr_factor=lr_factor,
        rate_from_step=since,
        reasons=(
            why,
            _in_words(diagnosis, jump),
            f"Learning rate times {lr_factor:.3g} from step {since} on, which makes up for it.",
            f"Back to step {target}, before the weights took harm.",
        ),
    )


WITHHELD = "Every bad update was withheld: no weight to undo."


def _applied(diagnosis: DiagnosisReport) -> list[int]:
    return [_begins(anomaly) for anomaly in diagnosis.anomalies if anomaly.applied]


def _first_bad(diagnosis: DiagnosisReport) -> int:
    return min(_begins(anomaly) for anomaly in diagnosis.anomalies)


def _begins(anomaly: Anomaly) -> int:
    """The first step that an anomaly is about: a stall is called out at its last one."""
    return anomaly.step - int(anomaly.score) + 1 if anomaly.kind is AnomalyKind.STALL else anomaly.step


def _stands_still(diagnosis: DiagnosisReport) -> bool:
    return all(anomaly.kind is AnomalyKind.STALL for anomaly in diagnosis.anomalies)


def _was_averted(diagnosis: DiagnosisReport, policy: RepairPolicy) -> bool:
    """Whether nothing but the gradient was out, for `max_averted_steps` at most, and no such update was applied.

    A loss that is out is measured before its own update: then the weights were bad already.
    """
    anomalies = diagnosis.anomalies
    only_gradient = all(anomaly.kind is AnomalyKind.GRAD_SPIKE and not anomaly.applied for anomaly in anomalies)
    return only_gradient and len({anomaly.step for anomaly in anomalies}) <= policy.max_averted_steps


def _sound_before(step: int, diagnosis: DiagnosisReport, course: Course) -> int:
    """The checkpoint that a clean replay proved, or else the newest one past its probation."""
    proven = diagnosis.sound_step
    return proven if proven is not None and proven <= step else rollback_target(step, course)


def _in_words(diagnosis: DiagnosisReport, jump: float) -> str:
    since = f"From step {diagnosis.rate_jump_step} on the"
    if diagnosis.is_rate_jump_recorded is False:
        return (
            f"{since} weights moved {jump:.3g} times as far as the planned rate moved them, whatever the records say."
        )
    return f"{since} learning rate was up to {jump:.3g} times the planned one."


def _reached_caps(history: IncidentHistory, policy: RepairPolicy, course: Course) -> list[str]:
    reached = []
    if history.attempts >= policy.max_attempts_per_incident:
        reached.append(
            f"{history.attempts} repairs of this incident were made; "
            f"max_attempts_per_incident is {policy.max_attempts_per_incident}."
        )
    recent = sum(1 for step in history.repair_steps if step > course.step - SPAN_STEPS)
    if recent >= policy.max_repairs_per_1000_steps:
        reached.append(
            f"{recent} repairs were made in the last {SPAN_STEPS} steps; "
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
