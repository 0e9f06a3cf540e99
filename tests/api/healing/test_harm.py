"""Harm: what leaving rows out does for later ones."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from aft_api.healing.harm import Charge, Trial, plan_trial, weigh
from aft_api.healing.replay import plan_replay
from aft_contracts import AnalysisSpec, RepairPolicy, Replay, Schedule

POLICY = RepairPolicy()
ROWS = 8


def row_ids(step: int) -> list[str]:
    return [f"r{step}-{row}" for row in range(ROWS)]


def asked_for(lab, suspects) -> AnalysisSpec:
    return plan_replay("a1", "run", Schedule(), [lab.anomaly(20)], suspects, POLICY, window_start=20)


@pytest.fixture
def replays(lab) -> list[Replay]:
    """A batch whose first row, and that of the next step, are suspected."""
    samples = {step: tuple(lab.sample(one, tokens=30 + n) for n, one in enumerate(row_ids(step))) for step in (20, 21)}
    steps = tuple(lab.step(step, samples=samples[step]) for step in samples)
    masked = ("r20-0", "r20-1", "r21-0")
    return [
        Replay(name="as_it_was", masked_sample_ids=(), steps=steps),
        Replay(name="without_suspects", masked_sample_ids=masked, steps=steps),
    ]


def charge(*ids: str) -> Charge:
    return Charge(step=int(ids[0][1:3]), sample_ids=ids)


def test_a_trial_leaves_each_charge_out_and_ordinary_rows_of_its_length(lab, replays) -> None:
    trial = plan_trial(asked_for(lab, ()), [charge("r20-0"), charge("r21-0")], replays, POLICY, replays_left=9)
    assert trial is not None
    assert (trial.asked.start_step, trial.asked.end_step) == (20, 22 + POLICY.harm_steps)
    assert all(one.unguarded for one in trial.asked.variants)
    assert [(one.name, one.masked_sample_ids) for one in trial.asked.variants] == [
        ("applied", ()), ("without:0", ("r20-0",)), ("without:1", ("r21-0",)),
        ("placebo:20.0", ("r20-2",)), ("placebo:20.1", ("r20-3",)), ("placebo:20.2", ("r20-4",)),
        ("placebo:21.0", ("r21-1",)), ("placebo:21.1", ("r21-2",)), ("placebo:21.2", ("r21-3",)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("left", "tried"),
    [
        pytest.param(10, [("r20-0",), ("r20-1",), ("r21-0",)], id="each-by-itself"),
        pytest.param(9, [("r20-0", "r20-1"), ("r21-0",)], id="a-step-at-once"),
        pytest.param(8, [("r20-0", "r20-1")], id="one-step-alone"),
        pytest.param(4, None, id="nobody"),
    ],
)
def test_replays_left_bound_a_trial(lab, replays, left, tried) -> None:
    charged = [charge("r20-0"), charge("r20-1"), charge("r21-0")]
    trial = plan_trial(asked_for(lab, ()), charged, replays, POLICY, replays_left=left)
    assert (None if trial is None else [one.sample_ids for one in trial.charges]) == tried
    assert trial is None or len(trial.asked.variants) <= left


def test_nobody_is_tried_beside_whom_no_ordinary_row_was_drawn(lab, replays) -> None:
    crowd = tuple(row_ids(20))
    steps = replays[0].steps
    everybody = [replays[0], Replay(name="without_suspects", masked_sample_ids=crowd, steps=steps)]
    assert plan_trial(asked_for(lab, ()), [charge("r20-0")], everybody, POLICY, replays_left=24) is None


def test_nobody_is_tried_where_a_replay_tells_of_no_samples(lab, replays) -> None:
    silent = [
        one.model_copy(update={"steps": tuple(step.model_copy(update={"samples": ()}) for step in one.steps)})
        for one in replays
    ]
    assert plan_trial(asked_for(lab, ()), [charge("r20-0")], silent, POLICY, replays_left=24) is None


@pytest.fixture
def measured(lab, replays):
    """Weighs a charge, given by how much the loss of a later row changes in each variant, in nats."""

    def weighed(lift: Callable[[str, int], float], *, spread: float = 0.002):
        trial = plan_trial(asked_for(lab, ()), [charge("r20-0")], replays, POLICY, replays_left=24)
        assert isinstance(trial, Trial)
        told = []
        for variant in trial.asked.variants:
            noise = np.random.default_rng(len(told))
            samples = {
                step: tuple(
                    lab.sample(one, loss=3.0 + lift(variant.name, step) + noise.normal(0, spread))
                    for one in row_ids(step)
                )
                for step in range(20, trial.asked.end_step)
            }
            steps = tuple(lab.step(step, samples=samples[step]) for step in samples)
            told.append(Replay(name=variant.name, masked_sample_ids=variant.masked_sample_ids, steps=steps))
        [harm] = weigh(trial, told, POLICY)
        return harm

    return weighed


def after(step: int, nats: float) -> float:
    return nats if step > 20 else 0.0


def test_a_row_without_which_later_rows_lose_less_did_harm(measured) -> None:
    harm = measured(lambda name, step: after(step, 0.0 if name == "without:0" else 0.05))
    assert harm.is_proven
    assert harm.gain_nats == pytest.approx(0.05, abs=0.002)
    assert harm.rows == ROWS * POLICY.harm_steps
    assert "harm" in harm.in_words


@pytest.mark.parametrize(
    "lift",
    [
        pytest.param(lambda name, step: 0.0, id="nothing-changes"),
        pytest.param(lambda name, step: 5.0 if name == "applied" and step == 20 else 0.0, id="its-own-step-alone"),
        pytest.param(lambda name, step: after(step, 0.05 if name == "applied" else 0.0), id="so-does-any-row"),
        pytest.param(
            lambda name, step: after(step, 0.0 if name in ("without:0", "placebo:20.1") else 0.05),
            id="so-does-one-ordinary-row",
        ),
        pytest.param(lambda name, step: after(step, 0.0 if name == "without:0" else 0.005), id="too-little"),
        pytest.param(lambda name, step: after(step, 0.05 if name == "without:0" else 0.0), id="it-helps"),
    ],
)
def test_anything_less_proves_no_harm(measured, lift) -> None:
    assert not measured(lift).is_proven


def test_a_difference_that_few_rows_make_proves_no_harm(measured) -> None:
    harm = measured(lambda name, step: after(step, 0.0 if name == "without:0" else 0.02), spread=0.2)
    assert not harm.is_proven


def test_a_row_after_which_no_loss_is_finite_did_harm(measured) -> None:
    harm = measured(lambda name, step: after(step, 0.0 if name == "without:0" else math.nan))
    assert harm.is_proven
    assert math.isinf(harm.gain_nats)


def test_what_is_not_finite_either_way_proves_no_harm(measured) -> None:
    harm = measured(lambda name, step: after(step, math.nan))
    assert (harm.is_proven, harm.rows) == (False, 0)


def test_what_a_row_does_to_others_that_are_charged_too_does_not_count(lab, replays) -> None:
    charged = [charge("r20-0"), charge("r21-0")]
    trial = plan_trial(asked_for(lab, ()), charged, replays, POLICY, replays_left=24)
    assert trial is not None
    told = [
        Replay(
            name=variant.name,
            masked_sample_ids=variant.masked_sample_ids,
            steps=tuple(
                lab.step(step, samples=tuple(lab.sample(one, loss=loss_of(one, variant.name)) for one in row_ids(step)))
                for step in range(20, trial.asked.end_step)
            ),
        )
        for variant in trial.asked.variants
    ]
    assert [harm.gain_nats for harm in weigh(trial, told, POLICY)] == [0.0, 0.0]


def loss_of(sample_id: str, variant: str) -> float:
    return 9.0 if sample_id == "r21-0" and variant != "without:0" else 3.0
