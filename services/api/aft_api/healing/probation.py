"""Probation: whether a repair holds, or its incident comes back."""

from aft_contracts import DiagnosisReport, Repair, RepairKind, RepairPolicy, Verdict

CHANGING = frozenset({RepairKind.ADJUST, RepairKind.BLACKLIST, RepairKind.ROLLBACK})
"""Repairs that change something, and may therefore fail; going on and asking do not."""


def probation_ends(diagnosis: DiagnosisReport, repair: Repair, policy: RepairPolicy, *, step: int) -> int | None:
    """The step at which `repair`, chosen at `step`, has held; None for one that changes nothing.

    It must take the run `probation_steps` healthy steps beyond the incident's last anomalous step, or beyond where the
    run stands if it goes on from there.
    """
    if repair.kind not in CHANGING:
        return None
    last = max(anomaly.step for anomaly in diagnosis.anomalies)
    begins = last + 1 if repair.rollback_to_step is not None else max(last + 1, step)
    return begins + policy.probation_steps


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
