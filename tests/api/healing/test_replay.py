"""Replay plans."""

import pytest

from aft_api.healing.replay import base_of, clusters, plan_look_back, plan_replay
from aft_contracts import RepairPolicy, Schedule

POLICY = RepairPolicy(replay_steps=4)


@pytest.mark.parametrize(
    ("anomalous", "window_start", "start", "end"),
    [
        pytest.param([20], 20, 20, 21, id="first-step-of-the-window"),
        pytest.param([22], 20, 20, 23, id="whole-way-from-the-checkpoint"),
        pytest.param([29], 20, 26, 30, id="no-more-than-replay-steps"),
        pytest.param([21, 22], 20, 20, 23, id="cluster"),
        pytest.param([25, 27], 20, 24, 28, id="wide-cluster"),
        pytest.param([25, 28], 20, 25, 29, id="widest-cluster"),
        pytest.param([29, 21], 20, 20, 22, id="later-cluster-is-left-for-later"),
    ],
)
def test_it_covers_the_first_cluster_within_replay_steps(lab, anomalous, window_start, start, end) -> None:
    anomalies = [lab.anomaly(step) for step in anomalous]
    plan = plan_replay("a1", "run", Schedule(), anomalies, (), POLICY, window_start=window_start)
    assert (plan.start_step, plan.end_step) == (start, end)
    assert [variant.name for variant in plan.variants] == ["as_it_was"]


def test_the_suspects_inside_are_masked_once_in_their_own_variant(lab) -> None:
    suspects = [lab.suspect("x", 22), lab.suspect("y", 22), lab.suspect("x", 21), lab.suspect("later", 29)]
    anomalies = [lab.anomaly(21), lab.anomaly(22), lab.anomaly(29)]
    plan = plan_replay("a1", "run", Schedule(version=3), anomalies, suspects, POLICY, window_start=20)
    assert [(one.name, one.masked_sample_ids) for one in plan.variants] == [
        ("as_it_was", ()),
        ("without_suspects", ("x", "y")),
        ("only:x", ("y",)),
        ("only:y", ("x",)),
    ]
    assert (plan.analysis_id, plan.run_id, plan.schedule.version) == ("a1", "run", 3)


def test_a_crowd_of_suspects_is_judged_as_one(lab) -> None:
    suspects = [lab.suspect(f"x{number}", 20) for number in range(5)]
    plan = plan_replay("a1", "run", Schedule(), [lab.anomaly(20)], suspects, POLICY, window_start=20)
    assert [variant.name for variant in plan.variants] == ["as_it_was", "without_suspects"]


def test_how_many_are_tried_alone_is_the_policy_s(lab) -> None:
    suspects = [lab.suspect(name, 20) for name in "abc"]
    policy = POLICY.model_copy(update={"max_alone": 2})
    alone, judged_as_one = (
        plan_replay("a1", "run", Schedule(), [lab.anomaly(20)], suspects, one, window_start=20)
        for one in (POLICY, policy)
    )
    assert [len(plan.variants) for plan in (alone, judged_as_one)] == [5, 2]


def test_clusters_span_no_more_than_replay_steps(lab) -> None:
    found = clusters([lab.anomaly(step) for step in (29, 21, 24, 25)], POLICY)
    assert [[anomaly.step for anomaly in cluster] for cluster in found] == [[21, 24], [25], [29]]


@pytest.mark.parametrize(
    ("checkpoints", "base", "older"),
    [
        pytest.param((0, 10, 20), 20, 10, id="newest-and-the-one-before"),
        pytest.param((0, 10), 10, 0, id="the-start-is-one-too"),
        pytest.param((0,), 0, None, id="nothing-before-the-start"),
        pytest.param((0, 10, 20, 30), 20, 10, id="later-ones-do-not-lead-there"),
    ],
)
def test_a_look_back_repeats_the_steps_unchanged_from_the_checkpoint_before(lab, checkpoints, base, older) -> None:
    asked = plan_replay("a1", "run", Schedule(), [lab.anomaly(22)], [lab.suspect("x", 22)], POLICY, window_start=20)
    assert base_of(asked, checkpoints) == base
    plan = plan_look_back(asked, checkpoints)
    if older is None:
        assert plan is None
        return
    assert plan is not None
    assert (plan.start_step, plan.end_step, plan.newest_checkpoint) == (20, 23, older)
    assert [(one.name, one.masked_sample_ids) for one in plan.variants] == [(f"from_checkpoint:{older}", ())]
    assert base_of(plan, checkpoints) == older
