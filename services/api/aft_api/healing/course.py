"""The run's course after a repair or a command: a new schedule, nothing else."""

from collections.abc import Mapping

from aft_api.healing.errors import CommandImpossible
from aft_contracts import (
    BlacklistSamples,
    Command,
    OptimSpec,
    Repair,
    RepairKind,
    Rollback,
    RunSpec,
    Schedule,
    SetGradClip,
    SetLearningRate,
    SetMix,
    SkipBatch,
    UnblacklistSamples,
)


def apply_repair(
    schedule: Schedule, repair: Repair, *, step: int, cause: str, spec: OptimSpec, diagnosis_id: str | None = None
) -> Schedule:
    """The schedule after `repair`, which holds from `step` on, or from the step it rolls back to.

    `cause` is the repair or decision that the blacklist entries name, `diagnosis_id` their evidence.

    Raises:
        CommandImpossible: the repair rolls forward, or is an escalation, which only carries a proposal.
    """
    if repair.kind is RepairKind.ESCALATE:
        raise CommandImpossible("An escalation is a question and changes nothing; apply its proposal.", cause=cause)
    if repair.rollback_to_step is not None:
        schedule, step = _rolled_back(schedule, repair.rollback_to_step, step), repair.rollback_to_step
    schedule = _blacklisted(schedule, repair.blacklist, step, cause, diagnosis_id)
    if repair.lr_factor is not None or repair.rewarmup_steps > 0:
        change = schedule.rate_change_at(step)
        scale = (change.scale if change else 1.0) * (repair.lr_factor or 1.0)
        since = repair.rate_begins(step)
        schedule = schedule.with_rate(scale, step=since, rewarmup_steps=repair.rewarmup_steps)
    clip_now = schedule.clip_at(step) or spec.clip_norm
    if repair.clip_norm is not None and repair.clip_norm != clip_now:
        schedule = schedule.with_clip(repair.clip_norm, step=step)
    return schedule


def apply_command(schedule: Schedule, command: Command, *, step: int, cause: str, spec: RunSpec) -> Schedule:
    """The schedule after `command`, given when `step` steps were attempted; the same one for commands that only steer.

    Raises:
        CommandImpossible: the step to skip was already trained, the rollback goes forward, or the mix makes no sense.
    """
    match command:
        case SetLearningRate(learning_rate=learning_rate, rewarmup_steps=rewarmup_steps):
            scale = learning_rate / spec.optim.learning_rate
            return schedule.with_rate(scale, step=step, rewarmup_steps=rewarmup_steps)
        case SetGradClip(max_norm=max_norm):
            return schedule.with_clip(max_norm, step=step)
        case SkipBatch(step=skipped):
            return _skipping(schedule, skipped, step, spec.optim.steps)
        case BlacklistSamples(sample_ids=sample_ids):
            return _blacklisted(schedule, sample_ids, step, cause)
        case UnblacklistSamples(sample_ids=sample_ids):
            return _lifted(schedule, sample_ids, step)
        case SetMix(weights=weights):
            return schedule.with_mix(_merged_mix(weights, weights_at(schedule, step, spec)), step=step)
        case Rollback(step=target):
            return _rolled_back(schedule, target, step)
        case _:
            return schedule


def weights_at(schedule: Schedule, step: int, spec: RunSpec) -> dict[str, float]:
    """Mixture weights that hold at `step`, by training domain."""
    changed = next((segment.weights for segment in reversed(schedule.mix) if segment.step <= step), None)
    return dict(changed) if changed else {name: domain.weight for name, domain in spec.data.domains.items()}


def _skipping(schedule: Schedule, skipped: int, step: int, last: int) -> Schedule:
    if skipped < step:
        raise CommandImpossible(
            f"Step {skipped} was already trained (the run is at step {step}); roll back to before it first.",
            step=skipped,
            current_step=step,
        )
    if skipped >= last:
        raise CommandImpossible(
            f"Step {skipped} does not exist: the run's last step is {last - 1}.", step=skipped, last_step=last - 1
        )
    return schedule.with_skipped(skipped)


def _blacklisted(
    schedule: Schedule, sample_ids: tuple[str, ...], step: int, cause: str, diagnosis_id: str | None = None
) -> Schedule:
    if schedule.banned.issuperset(sample_ids):
        return schedule
    return schedule.with_blacklisted(sample_ids, step=step, cause=cause, diagnosis_id=diagnosis_id)


def _lifted(schedule: Schedule, sample_ids: tuple[str, ...], step: int) -> Schedule:
    strange = sorted(set(sample_ids) - schedule.banned)
    if strange:
        shown = ", ".join(strange[:8]) + (f" and {len(strange) - 8} more" if len(strange) > 8 else "")
        raise CommandImpossible(
            f"Not blacklisted: {shown}. The run's blacklist says which samples are.", sample_ids=strange[:100]
        )
    return schedule.with_lifted(sample_ids, step=step)


def _rolled_back(schedule: Schedule, target: int, step: int) -> Schedule:
    if target > step:
        raise CommandImpossible(
            f"Cannot go back to step {target}: the run is only at step {step}.", step=target, current_step=step
        )
    return schedule.rolled_back(target)


def _merged_mix(changes: Mapping[str, float], current: Mapping[str, float]) -> dict[str, float]:
    unknown = sorted(set(changes) - set(current))
    if unknown:
        raise CommandImpossible(
            f"The run has no training domain {', '.join(unknown)}; it has {', '.join(sorted(current))}.",
            unknown=unknown,
            domains=sorted(current),
        )
    wrong = {name: weight for name, weight in changes.items() if weight < 0}
    if wrong:
        raise CommandImpossible(f"Weights must be not negative; given {wrong}.", weights=wrong)
    merged = {**current, **changes}
    if not any(weight > 0 for weight in merged.values()):
        raise CommandImpossible("At least one domain needs a weight above 0.", domains=sorted(merged))
    return merged
