"""Writes the question: evidence, options with their effects, the recommended one, and the deadline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from aft_contracts import (
    Approve,
    DiagnosisReport,
    Edit,
    Evidence,
    LossPoint,
    OnDeadline,
    Option,
    Reject,
    Repair,
    Replay,
    ReplayFigures,
    Review,
    ReviewPolicy,
    ReviewStatus,
    RunSpec,
    StepRecord,
    Stop,
)

PICTURE_STEPS = 60
"""Steps in the picture of the loss."""
MOST_SHOWN = 8
"""Anomalies and suspects in the evidence; the diagnosis has them all."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where the run stands as the question is asked."""

    step: int
    """Optimizer steps attempted so far."""
    steps: Sequence[StepRecord]
    """The last of them, oldest first."""
    now: datetime
    """By the database's clock, which the deadline is measured by."""
    created_at: datetime
    """By the process's."""


def review_id_of(diagnosis_id: str) -> str:
    """The id of the question that a diagnosis leads to."""
    return f"{diagnosis_id}:review"


def write_question(report: DiagnosisReport, repair: Repair, spec: RunSpec, moment: Moment) -> Review:
    """The review that asks a human about `repair`, an escalation."""
    review_id = review_id_of(report.diagnosis_id)
    options = options_of(review_id, repair.proposal, spec, step=moment.step)
    return Review(
        review_id=review_id,
        run_id=report.run_id,
        diagnosis_id=report.diagnosis_id,
        question=_question(report, repair),
        proposal=repair.proposal,
        evidence=evidence_of(report, moment),
        options=options,
        recommended=options[0].name,
        answered_by=spec.reviews.answered_by,
        deadline_at=deadline_of(spec.reviews, moment.now),
        on_deadline=on_deadline_of(spec.reviews, options),
        status=ReviewStatus.OPEN,
        created_at=moment.created_at,
    )


def deadline_of(policy: ReviewPolicy, now: datetime) -> datetime | None:
    """Until when an answer is waited for; None waits for ever."""
    return None if policy.deadline_s is None else now + timedelta(seconds=policy.deadline_s)


def on_deadline_of(policy: ReviewPolicy, options: Sequence[Option]) -> OnDeadline:
    """What happens then: an option that is not offered cannot be taken."""
    return policy.on_deadline if policy.on_deadline in {option.name for option in options} else OnDeadline.HOLD


def options_of(review_id: str, proposal: Repair | None, spec: RunSpec, *, step: int) -> tuple[Option, ...]:
    """The ways to answer, the recommended one first."""
    stop = Option(
        name="stop",
        command=Stop(review_id=review_id),
        effect=f"Ends the run at step {step}; what was trained is kept and exported.",
    )
    unchanged = f"Changes nothing and trains on from step {step}."
    if proposal is None:
        return Option(name="go_on", command=Approve(review_id=review_id), effect=unchanged), stop
    options = [
        Option(name="apply", command=Approve(review_id=review_id), effect=effect_of(proposal, step=step)),
        Option(
            name="go_on",
            command=Reject(review_id=review_id),
            effect=f"{unchanged} What bad steps left in the weights stays there.",
        ),
        stop,
    ]
    gentler = _gentler(proposal, spec)
    if gentler is not None:
        edited = Edit(review_id=review_id, repair=gentler)
        options.insert(1, Option(name="gentler", command=edited, effect=effect_of(gentler, step=step)))
    return tuple(options)


def effect_of(repair: Repair, *, step: int) -> str:
    """What a repair is expected to do to a run at `step`, in words."""
    back = repair.rollback_to_step
    parts = []
    if repair.blacklist:
        parts.append(f"{len(repair.blacklist)} row(s) are never loaded again")
    if back is not None:
        parts.append(f"the run goes back from step {step} to step {back} and trains {step - back} step(s) again")
    if repair.lr_factor is not None:
        since = "" if repair.rate_from_step is None else f" from step {repair.rate_from_step} on"
        parts.append(f"the learning rate is {repair.lr_factor:g} times what it was{since}")
    if repair.rewarmup_steps:
        parts.append(f"it climbs over {repair.rewarmup_steps} steps")
    if repair.clip_norm is not None:
        parts.append(f"gradients are clipped to {repair.clip_norm:g}")
    if not parts:
        return f"Changes nothing and trains on from step {step}."
    return f"{'; '.join(parts)}.".capitalize()


def evidence_of(report: DiagnosisReport, moment: Moment) -> Evidence:
    """What happened, in ids and figures."""
    first_bad_step = min(anomaly.step for anomaly in report.anomalies)
    return Evidence(
        step=moment.step,
        verdict=report.verdict,
        anomalies=report.anomalies[:MOST_SHOWN],
        anomaly_count=len(report.anomalies),
        suspects=report.suspects[:MOST_SHOWN],
        culprits=report.culprits,
        replays=tuple(figures for replay in report.replays for figures in _figures(replay, first_bad_step)),
        losses=tuple(
            LossPoint(step=step.step, loss=step.loss, applied=step.applied) for step in moment.steps[-PICTURE_STEPS:]
        ),
    )


def _figures(replay: Replay, at_step: int) -> list[ReplayFigures]:
    return [
        ReplayFigures(
            name=replay.name,
            masked=len(replay.masked_sample_ids),
            step=step.step,
            loss=step.loss,
            grad_norm=step.grad_norm,
        )
        for step in replay.steps
        if step.step == at_step
    ]


def _gentler(proposal: Repair, spec: RunSpec) -> Repair | None:
    """The same roll back and a lower rate with it; None where the proposal does not roll back, or lowers it already."""
    if proposal.rollback_to_step is None or proposal.lr_factor is not None:
        return None
    return proposal.model_copy(
        update={"lr_factor": spec.repair.lr_factor, "rewarmup_steps": spec.repair.rewarmup_steps}
    )


def _question(report: DiagnosisReport, repair: Repair) -> str:
    proposed = f"{repair.proposal.kind}: {' '.join(repair.proposal.reasons)}" if repair.proposal else "to go on"
    return f"Verdict {report.verdict}. {' '.join(repair.reasons)} Proposed is {proposed}"
