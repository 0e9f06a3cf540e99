"""Conclude: what scoring the same step again proves about a held-out loss that fell."""

from collections.abc import Sequence

from aft_api.healing.diagnose import Conclusion
from aft_api.healing.evaluation_drop import find_drops
from aft_contracts import Anomaly, DetectionSpec, Evaluated, Verdict


def conclude_scores(
    anomalies: Sequence[Anomaly],
    evaluations: Sequence[Evaluated],
    again: Evaluated | None,
    spec: DetectionSpec,
    *,
    base: int,
    armed_from: int = 0,
) -> Conclusion:
    """The verdict once the steps since the checkpoint at step `base` were trained again, and scored as `again`.

    Good now: the state was damaged after that checkpoint. As bad as before: what did it lies in the rows, the course or
    the past, and no step says which; that is unknown, and the last good score is where to go back to. `evaluations`
    (oldest first, one lineage) end with the bad one.
    """
    scored = ", ".join(f"{anomaly.domain} {anomaly.value:.4g}" for anomaly in anomalies)
    if again is None:
        return _unknown(evaluations, f"Held-out losses rose ({scored}), and could not be scored again.")
    fallen = {anomaly.domain for anomaly in anomalies}
    still = [one for one in find_drops((*evaluations[:-1], again), spec, armed_from=armed_from) if one.domain in fallen]
    now = ", ".join(f"{name} {again.scores[name].loss:.4g}" for name in sorted(again.scores) if name in fallen)
    found = f"Trained again from the checkpoint of step {base}, step {again.step} scores {now}; it had scored {scored}."
    if still:
        return _unknown(evaluations, found, "It comes back, and no step gave it away.")
    return Conclusion(
        verdict=Verdict.STATE,
        culprits=(),
        reasons=(found, "Weights or optimizer state were damaged after that checkpoint."),
        sound_step=base,
    )


def _unknown(evaluations: Sequence[Evaluated], *reasons: str) -> Conclusion:
    good = evaluations[-2].step
    why = (*reasons, f"The last good score is that of step {good}.")
    return Conclusion(verdict=Verdict.UNKNOWN, culprits=(), reasons=why, sound_step=good)
