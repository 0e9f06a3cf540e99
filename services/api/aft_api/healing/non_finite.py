"""Non-finite detector: a loss or a gradient that is not a number is an anomaly of its own, never a statistic."""

import math
from collections.abc import Iterable

from aft_contracts import Anomaly, AnomalyKind, StepRecord, Withheld


def find_non_finite(steps: Iterable[StepRecord]) -> tuple[Anomaly, ...]:
    """An anomaly for each step whose loss or gradient norm is NaN or infinite, or that the guard withheld as such.

    not (|loss| < inf and |g| < inf): the test of Optax's `apply_if_finite`, without its patience, which lets a NaN
    update through after n of them in a row. This never does.
    """
    return tuple(_anomaly(step) for step in steps if _is_bad(step))


def is_finite(step: StepRecord) -> bool:
    """Whether the step's loss and gradient norm are numbers."""
    return math.isfinite(step.loss) and math.isfinite(step.grad_norm)


def _is_bad(step: StepRecord) -> bool:
    if step.withheld is Withheld.SKIPPED:
        return False
    return step.withheld is Withheld.NON_FINITE or not is_finite(step)


def _anomaly(step: StepRecord) -> Anomaly:
    return Anomaly(
        kind=AnomalyKind.NON_FINITE,
        step=step.step,
        value=step.grad_norm if math.isfinite(step.loss) else step.loss,
        score=math.inf,
        threshold=0.0,
        applied=step.applied,
        sample_ids=tuple(
            sample.sample_id for sample in step.samples if not _sample_is_finite(sample.loss, sample.grad_norm)
        ),
    )


def _sample_is_finite(loss: float, grad_norm: float) -> bool:
    return math.isfinite(loss) and math.isfinite(grad_norm)
