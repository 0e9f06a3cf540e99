"""Probation: whether a repair holds, or its incident comes back."""

from aft_contracts import AnomalyKind, DiagnosisReport, Repair, RepairKind, RunSpec, Schedule, Verdict

CHANGING = frozenset({RepairKind.ADJUST, RepairKind.BLACKLIST, RepairKind.ROLLBACK})
"""Repairs that change something, and may therefore fail; going on and asking do not."""


def probation_ends(
    diagnosis: DiagnosisReport, repair: Repair, spec: RunSpec, schedule: Schedule, *, step: int
) -> int | None:
    """The step at which `repair`, chosen at `step`, has held; None for one that changes nothing.

    It must take the run `probation_steps` healthy steps beyond the incident's last anomalous step, or beyond where the
    run stands if it goes on from there; and what found the incident must have been able to find it again
    (`proven_from`) on the course of `schedule`, which the repair led to.
    """
    if repair.kind not in CHANGING:
        return None
    last = max(anomaly.step for anomaly in diagnosis.anomalies)
    resumes = repair.goes_on_from(step)
    beyond = max(last + 1, resumes) + spec.repair.probation_steps
    armed_from = schedule.armed_from(repair.rate_begins(step))
    return max(beyond, proven_from(diagnosis, spec, armed_from=armed_from, resumes=resumes))


def proven_from(diagnosis: DiagnosisReport, spec: RunSpec, *, armed_from: int, resumes: int = 0) -> int:
    """The step by which every detector that spoke was armed again and has kept silent for `probation_steps` steps.

    `armed_from` is the step from which the statistics were gathered anew, `resumes` the one from which the run went on:
    a fallen score is known to be good only once it was scored again.
    """
    return max(
        _proven_from(anomaly.kind, spec, armed_from=armed_from, resumes=resumes) for anomaly in diagnosis.anomalies
    )


def came_back(before: DiagnosisReport, repair: Repair, now: DiagnosisReport, *, ends_step: int) -> bool:
    """Whether `now` is the incident of `before` again, though `repair` was made; beyond `ends_step` it is another.

    Data never comes back by itself: its culprits are gone, and other rows are another incident, unless the same steps
    are bad without them. Any other incident is back when the same steps are bad again with the same verdict; a calmer
    course is to keep bad steps of that kind away, wherever they are.
    """
    if min(anomaly.step for anomaly in now.anomalies) >= ends_step:
        return False
    same_steps = {anomaly.step for anomaly in before.anomalies} & {anomaly.step for anomaly in now.anomalies}
    if before.verdict is Verdict.DATA:
        return bool(same_steps)
    if repair.lr_factor is not None:
        kinds = {anomaly.kind for anomaly in before.anomalies} & {anomaly.kind for anomaly in now.anomalies}
        return now.verdict is before.verdict and bool(kinds)
    return bool(same_steps) and now.verdict is before.verdict


def _proven_from(kind: AnomalyKind, spec: RunSpec, *, armed_from: int, resumes: int) -> int:
    detection, quiet = spec.detection, spec.repair.probation_steps
    between = spec.curriculum.every_windows * spec.window.steps
    match kind:
        case AnomalyKind.LOSS_SPIKE | AnomalyKind.GRAD_SPIKE | AnomalyKind.OPPOSED_ROWS:
            return armed_from + detection.min_steps + quiet
        case AnomalyKind.DRIFT:
            return armed_from + detection.cusum_lag + detection.min_steps - 1 + quiet
        case AnomalyKind.STALL:
            return armed_from + detection.stall_steps - 1 + quiet
        case AnomalyKind.EVALUATION_DROP:
            # n changes lie between n + 1 evaluations, and the next is the first to be judged. An evaluation comes
            # after its window was found healthy, so it has spoken by the window that follows.
            armed = armed_from + (detection.eval_min_changes + 2) * between if armed_from else 0
            return max(armed, resumes + between) + 1
        case AnomalyKind.NON_FINITE | AnomalyKind.SAMPLE_OUTLIER | AnomalyKind.REPETITION | AnomalyKind.RATE_JUMP:
            return 0  # these are always armed
