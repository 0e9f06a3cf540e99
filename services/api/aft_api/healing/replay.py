"""Plan the causal replay: which steps to train again, and without whom."""

from collections.abc import Sequence

from aft_contracts import AnalysisSpec, Anomaly, RepairPolicy, ReplayVariant, Schedule, Suspect

AS_IT_WAS = "as_it_was"
"""Variant that repeats the steps unchanged."""

WITHOUT_SUSPECTS = "without_suspects"
"""Variant in which the suspects' loss weight is zero."""


def plan_replay(
    analysis_id: str,
    run_id: str,
    schedule: Schedule,
    anomalies: Sequence[Anomaly],
    suspects: Sequence[Suspect],
    policy: RepairPolicy,
    *,
    window_start: int,
) -> AnalysisSpec:
    """The replay that explains the first cluster of `anomalies`, of which there must be at least one.

    The cluster is the first anomalous step and those that follow it within `replay_steps`. The replay ends after its
    last step and begins as early as `replay_steps` allows, but not before the window: the closer to the checkpoint at
    `window_start`, the closer the replayed state is to the real one. A later cluster is explained by its own
    incident, should it come back.
    """
    first = min(anomaly.step for anomaly in anomalies)
    last = max(anomaly.step for anomaly in anomalies if anomaly.step < first + policy.replay_steps)
    start = max(min(window_start, first), last + 1 - policy.replay_steps)
    masked = tuple(dict.fromkeys(suspect.sample_id for suspect in suspects if start <= suspect.step <= last))
    without = (ReplayVariant(name=WITHOUT_SUSPECTS, masked_sample_ids=masked),) if masked else ()
    return AnalysisSpec(
        analysis_id=analysis_id,
        run_id=run_id,
        schedule=schedule,
        start_step=start,
        end_step=last + 1,
        variants=(ReplayVariant(name=AS_IT_WAS), *without),
    )
