"""Adapt the data mix: a domain that is being forgotten gets a larger share."""

import math
from collections.abc import Collection, Mapping, Sequence

from aft_contracts import CurriculumSpec, Evaluated


def adapt_mix(
    evaluations: Sequence[Evaluated], weights: Mapping[str, float], spec: CurriculumSpec
) -> dict[str, float] | None:
    """New mixture weights after the last of `evaluations` (oldest first); None when nothing changes.

    A training domain d is forgotten when loss_now - best_loss_so_far > `tolerance_nats`: backward transfer (GEM,
    Lopez-Paz & Ranzato, 2017) against the best score in place of the first. Scores that are not finite say nothing.
    """
    forgotten = {name for name in weights if _drop(name, evaluations) > spec.tolerance_nats}
    total = sum(weights.values())
    if not spec.adapt or not forgotten or total <= 0:
        return None
    shares = {name: weight / total for name, weight in weights.items()}
    new = _raised(shares, forgotten, spec)
    if all(math.isclose(new[name], shares[name], rel_tol=1e-9) for name in shares):
        return None
    return {name: share * total for name, share in new.items()}


def answerable_domains(weights: Mapping[str, float], spec: CurriculumSpec) -> frozenset[str]:
    """Domains whose share a change of the mix may raise: where there is one alone, none."""
    drawn = {name for name, weight in weights.items() if weight > 0}
    return frozenset(drawn) if spec.adapt and len(drawn) > 1 else frozenset()


def _drop(name: str, evaluations: Sequence[Evaluated]) -> float:
    """How far the domain's loss now stands above its best, in nats; 0 while that is not known."""
    losses = [evaluated.scores[name].loss for evaluated in evaluations if name in evaluated.scores]
    if not losses or name not in evaluations[-1].scores or not math.isfinite(losses[-1]):
        return 0.0
    return losses[-1] - min(loss for loss in losses if math.isfinite(loss))


def _raised(shares: Mapping[str, float], forgotten: Collection[str], spec: CurriculumSpec) -> dict[str, float]:
    """Shares with the weight of each forgotten domain times `gain`, none lifted above `max_weight_share`.

    The other domains keep their proportions in what is left. A share already above the cap stays.
    """
    whole = sum(share * (spec.gain if name in forgotten else 1.0) for name, share in shares.items())
    lifted = {
        name: max(shares[name], min(shares[name] * spec.gain / whole, spec.max_weight_share)) for name in forgotten
    }
    others = sum(share for name, share in shares.items() if name not in forgotten)
    left = (1.0 - sum(lifted.values())) / others if others > 0 else 0.0
    return {name: lifted[name] if name in forgotten else share * left for name, share in shares.items()}
