"""Which checkpoints of a generation may go."""

from collections.abc import Iterable

from aft_contracts import CheckpointSpec


def expendable_steps(steps: Iterable[int], policy: CheckpointSpec, *, generation: int) -> list[int]:
    """Steps whose checkpoints the policy does not keep, ascending.

    Kept are the newest `keep_last`, multiples of `keep_every_steps`, and the state before the first step, from which
    any other can be trained again. Only the generation that trains is ever pruned: after a rollback what the
    generations before it committed stays, so the points that later ones branched from are still there.
    """
    ascending = sorted(steps)
    kept = set(ascending[-policy.keep_last :])
    if policy.keep_every_steps:
        kept |= {step for step in ascending if step % policy.keep_every_steps == 0}
    if generation == 0:
        kept.add(0)
    return [step for step in ascending if step not in kept]
