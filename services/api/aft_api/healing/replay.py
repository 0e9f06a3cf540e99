"""Plan the causal replay: which steps to train again, and without whom."""

from collections.abc import Sequence

from aft_contracts import AnalysisSpec, Anomaly, RepairPolicy, ReplayVariant, Schedule, Suspect

AS_IT_WAS = "as_it_was"
"""Variant that repeats the steps unchanged."""

WITHOUT_SUSPECTS = "without_suspects"
"""Variant in which the suspects' loss weight is zero."""

ONLY = "only:"
"""Prefix of a variant in which one of several suspects, named behind it, is left in and the others are masked."""

FROM_CHECKPOINT = "from_checkpoint:"
"""Prefix of a variant that repeats the steps unchanged, from an older checkpoint, whose step is named behind it."""

MOST_ALONE = 4
"""Suspects that are each tried alone; a larger set is judged as one, for each trial costs a replay."""


def clusters(anomalies: Sequence[Anomaly], policy: RepairPolicy) -> list[tuple[Anomaly, ...]]:
    """Anomalies that one replay can cover, oldest cluster first: each spans at most `replay_steps` steps."""
    found: list[list[Anomaly]] = []
    for anomaly in sorted(anomalies, key=lambda one: one.step):
        if found and anomaly.step < found[-1][0].step + policy.replay_steps:
            found[-1].append(anomaly)
        else:
            found.append([anomaly])
    return [tuple(cluster) for cluster in found]


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
    """The replay that explains the first of the `clusters` of `anomalies`, of which there must be at least one.

    It ends after the cluster's last step and begins as early as `replay_steps` allows, but not before the window: the
    closer to the checkpoint at `window_start`, the closer the replayed state is to the real one. Of several suspects
    each is also tried alone, so that nobody is blamed for standing beside a culprit.
    """
    cluster = clusters(anomalies, policy)[0]
    first, last = cluster[0].step, cluster[-1].step
    start = max(min(window_start, first), last + 1 - policy.replay_steps)
    masked = tuple(dict.fromkeys(suspect.sample_id for suspect in suspects if start <= suspect.step <= last))
    without = [ReplayVariant(name=WITHOUT_SUSPECTS, masked_sample_ids=masked)] if masked else []
    alone = masked if 1 < len(masked) <= MOST_ALONE else ()
    without += [
        ReplayVariant(name=f"{ONLY}{one}", masked_sample_ids=tuple(other for other in masked if other != one))
        for one in alone
    ]
    return AnalysisSpec(
        analysis_id=analysis_id,
        run_id=run_id,
        schedule=schedule,
        start_step=start,
        end_step=last + 1,
        variants=(ReplayVariant(name=AS_IT_WAS), *without),
    )


def plan_look_back(asked: AnalysisSpec, checkpoint_steps: Sequence[int]) -> AnalysisSpec | None:
    """The same steps once more, unchanged, but from the checkpoint before the one that `asked` began from.

    None where there is no checkpoint before it.
    """
    older = [step for step in checkpoint_steps if step < base_of(asked, checkpoint_steps)]
    if not older:
        return None
    variant = ReplayVariant(name=f"{FROM_CHECKPOINT}{max(older)}")
    changes = {"analysis_id": f"{asked.analysis_id}:older", "newest_checkpoint": max(older), "variants": (variant,)}
    return asked.model_copy(update=changes)


def base_of(asked: AnalysisSpec, checkpoint_steps: Sequence[int]) -> int:
    """Step of the checkpoint that the replay begins from."""
    newest = asked.start_step if asked.newest_checkpoint is None else asked.newest_checkpoint
    return max((step for step in checkpoint_steps if step <= newest), default=0)
