"""Plan the causal replay: which steps to train again, and without whom."""

from collections.abc import Iterable, Sequence

from aft_api.healing.culprits import Trials
from aft_contracts import AnalysisSpec, Anomaly, RepairPolicy, ReplayVariant, Schedule, Suspect

AS_IT_WAS = "as_it_was"
"""Variant that repeats the steps unchanged."""

WITHOUT_SUSPECTS = "without_suspects"
"""Variant in which the suspects' loss weight is zero."""

ONLY = "only:"
"""Prefix of a variant in which one of several suspects, named behind it, is left in and the others are masked."""

FROM_CHECKPOINT = "from_checkpoint:"
"""Prefix of a variant that repeats the steps unchanged, from an older checkpoint, whose step is named behind it."""

GROUP = "group:"
"""Prefix of a variant in which some of many suspects are left in; the round of the bisection and a number follow."""


FEWEST = 2
"""Replays that no budget takes away: as it was, and without the suspects."""


def within_budget(policy: RepairPolicy, replayed_steps: int) -> RepairPolicy:
    """The policy for one more incident where replays have trained so many steps within the last `SPAN_STEPS`."""
    is_spent = replayed_steps >= policy.max_replayed_steps_per_1000
    return policy.model_copy(update={"max_replays": FEWEST} if is_spent else {})


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
    closer to the checkpoint at `window_start`, the closer the replayed state is to the real one. Of a few suspects
    each is also tried alone, so that nobody is blamed for standing beside a culprit; for many there is
    `plan_bisection`.
    """
    cluster = clusters(anomalies, policy)[0]
    first, last = cluster[0].step, cluster[-1].step
    start = max(min(window_start, first), last + 1 - policy.replay_steps)
    masked = tuple(dict.fromkeys(suspect.sample_id for suspect in suspects if start <= suspect.step <= last))
    without = [ReplayVariant(name=WITHOUT_SUSPECTS, masked_sample_ids=masked)] if masked else []
    alone = masked if 1 < len(masked) <= policy.max_alone else ()
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
        variants=(ReplayVariant(name=AS_IT_WAS), *without)[: policy.max_replays],
    )


def plan_bisection(
    asked: AnalysisSpec, tried: Iterable[Trials], *, round_number: int, replays_left: int
) -> AnalysisSpec | None:
    """The next round of a bisection: both halves of every group that is still convicted as one, each left in alone.

    Of n suspects of a step, one culprit is found in about 2 log2(n) replays. None where nothing is left to split, or
    where `replays_left` allows no pair more.
    """
    pairs = [pair for trials in tried for pair in trials.halves()][: replays_left // 2]
    masked = next((one.masked_sample_ids for one in asked.variants if one.name == WITHOUT_SUSPECTS), ())
    variants = tuple(
        ReplayVariant(
            name=f"{GROUP}{round_number}.{number}",
            masked_sample_ids=tuple(one for one in masked if one not in group),
        )
        for number, group in enumerate(group for pair in pairs for group in pair)
    )
    if not variants:
        return None
    return asked.model_copy(update={"analysis_id": f"{asked.analysis_id}:{round_number}", "variants": variants})


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
