"""Judge a window: every detector over its steps."""

from collections.abc import Iterable, Sequence

from aft_api.healing.cusum import find_drift
from aft_api.healing.non_finite import find_non_finite
from aft_api.healing.opposed_rows import find_opposed
from aft_api.healing.rate_jump import RatePlan, find_high_rates
from aft_api.healing.reference import SampleReference
from aft_api.healing.repetition import find_repetitions
from aft_api.healing.robust_z import sweep
from aft_api.healing.sample_outlier import find_outliers
from aft_api.healing.stall import find_stalls
from aft_contracts import Anomaly, AnomalyKind, DetectionSpec, StepRecord


def judge(
    window: Sequence[StepRecord],
    history: Sequence[StepRecord],
    spec: DetectionSpec,
    *,
    armed_from: int = 0,
    plan: RatePlan | None = None,
) -> tuple[Anomaly, ...]:
    """Every anomaly of `window`, by step; empty for a healthy one.

    `window` and `history` are oldest first; `history` is what was trained before on the same lineage, with its samples.
    `armed_from` is the last step from which another rate, clip or mix holds: batch statistics from before it describe
    another course and are not used, while single samples are still measured against all of `history`. A step that a
    human skipped is no anomaly; one that the worker's guard withheld always is. Without a `plan` nothing is said of
    rates.
    """
    judged = {step.step for step in window}
    swept = sweep((*history, *window), spec, armed_from=armed_from)
    reference = SampleReference(clean_steps((*history, *window), swept.anomalies, spec), spec)
    found = (
        *find_non_finite(window),
        *swept.anomalies,
        *_drifts(window, history, swept.clean, reference, spec),
        *find_outliers(window, reference, spec),
        *find_repetitions(window, reference, spec),
        *find_opposed(window, swept.clean, reference, spec),
        *find_stalls((*history, *window), spec, armed_from=armed_from),
        *(find_high_rates(window, history, plan, spec) if plan is not None else ()),
    )
    return tuple(sorted((anomaly for anomaly in found if anomaly.step in judged), key=_place))


def _drifts(
    window: Sequence[StepRecord],
    history: Sequence[StepRecord],
    clean: Sequence[StepRecord],
    reference: SampleReference,
    spec: DetectionSpec,
) -> tuple[Anomaly, ...]:
    """Drifts in `window`; what a batch gains by a bad row is no drift, and a cluster of those would add up to one."""
    found, judged = find_drift(clean, spec), {step.step for step in window}
    if not any(anomaly.step in judged for anomaly in found):
        return ()
    spoiled = {anomaly.step for anomaly in find_outliers((*history, *window), reference, spec)}
    return find_drift([step for step in clean if step.step not in spoiled], spec)


def clean_steps(
    steps: Sequence[StepRecord], anomalies: Iterable[Anomaly], spec: DetectionSpec
) -> tuple[StepRecord, ...]:
    """The last `history_steps` of `steps` that were applied and that no anomaly names."""
    named = {anomaly.step for anomaly in anomalies}
    return tuple(step for step in steps if step.applied and step.step not in named)[-spec.history_steps :]


def _place(anomaly: Anomaly) -> tuple[int, int]:
    return anomaly.step, list(AnomalyKind).index(anomaly.kind)
