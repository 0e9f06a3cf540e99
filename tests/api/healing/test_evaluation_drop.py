"""The evaluation detector, and the verdict on what it finds."""

import math
import random

import pytest

from aft_api.healing.evaluation_drop import find_drops
from aft_api.healing.scores import conclude_scores
from aft_contracts import AnomalyKind, DetectionSpec, DomainScore, Evaluated, Verdict

SPEC = DetectionSpec()
DESCENT = (3.0, 2.6, 2.45, 2.4, 2.38)


def scored(*losses: float, every: int = 40, **others: tuple[float, ...]) -> list[Evaluated]:
    """Evaluations of `chat`, and of other domains beside it."""
    return [
        Evaluated(
            step=number * every,
            scores={name: DomainScore(loss=of[number], tokens=100) for name, of in {"chat": losses, **others}.items()},
        )
        for number in range(len(losses))
    ]


def test_a_jump_above_the_usual_changes_and_the_best_is_an_anomaly() -> None:
    [found] = find_drops(scored(*DESCENT, 3.9), SPEC)
    assert (found.kind, found.domain, found.step, found.value) == (AnomalyKind.EVALUATION_DROP, "chat", 200, 3.9)
    assert found.score >= SPEC.eval_z


@pytest.mark.parametrize(
    ("losses", "changes"),
    [
        pytest.param((*DESCENT, 2.5), {}, id="a-little-worse"),
        pytest.param((2.4, 2.5, 2.6, 2.7, 2.8, 2.9), {}, id="overfitting-step-by-step"),
        pytest.param((2.0, 2.9, 3.1, 3.2, 3.25, 3.4), {}, id="forgetting-that-slows-down"),
        pytest.param((2.4, 2.39, 2.38, 3.9), {}, id="too-few-changes-known"),
        pytest.param((*DESCENT, 3.9), {"eval_margin_nats": 2.0}, id="margin"),
        pytest.param((*DESCENT, 3.9), {"eval_z": 100.0}, id="threshold"),
        pytest.param((9.0, 2.6, 9.0, 2.6, 2.5, 2.9), {}, id="as-unsteady-as-ever"),
        pytest.param((math.nan,) * 6, {}, id="never-had-a-score"),
        pytest.param((), {}, id="no-evaluation"),
    ],
)
def test_what_is_no_drop(losses, changes) -> None:
    assert find_drops(scored(*losses), SPEC.model_copy(update=changes)) == ()


def test_a_score_that_is_no_number_any_more_is_one_from_the_second_evaluation_on() -> None:
    [found] = find_drops(scored(3.0, math.nan), SPEC)
    assert found.score == math.inf


def test_evaluations_before_the_last_change_of_rate_or_mix_do_not_count() -> None:
    assert find_drops(scored(*DESCENT, 3.9), SPEC, armed_from=40)
    assert find_drops(scored(*DESCENT, 3.9), SPEC, armed_from=80) == ()


@pytest.mark.parametrize(
    ("code", "answerable", "fallen"),
    [
        pytest.param((*DESCENT, 2.37), {"chat", "code"}, [], id="the-mix-may-answer-for-one"),
        pytest.param((*DESCENT, 3.9), {"chat", "code"}, ["chat", "code"], id="all-at-once-is-no-trade"),
        pytest.param((*DESCENT, 2.37), {"code"}, ["chat"], id="nobody-else-answers-for-it"),
    ],
)
def test_forgetting_is_left_to_the_curriculum(code, answerable, fallen) -> None:
    found = find_drops(scored(*DESCENT, 3.9, code=code), SPEC, answerable=answerable)
    assert [one.domain for one in found] == fallen


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_healthy_run_of_any_noise_is_left_alone(noise) -> None:
    alarms = 0
    for seed in range(200):
        rng = random.Random(seed)
        losses = [2.4 + 1.5 * math.exp(-n / 3) + rng.gauss(0, noise) for n in range(25)]
        alarms += sum(bool(find_drops(scored(*losses[:n]), SPEC)) for n in range(1, 26))
    assert alarms == 0


@pytest.mark.parametrize(
    ("again", "verdict", "sound_step"),
    [(2.37, Verdict.STATE, 190), (3.9, Verdict.UNKNOWN, 160), (None, Verdict.UNKNOWN, 160)],
)
def test_trained_and_scored_again_it_says_whether_the_state_was_damaged(again, verdict, sound_step) -> None:
    evaluations = scored(*DESCENT, 3.9)
    rescored = None if again is None else scored(*DESCENT, again)[-1]
    found = conclude_scores(find_drops(evaluations, SPEC), evaluations, rescored, SPEC, base=190)
    assert (found.verdict, found.sound_step, found.culprits) == (verdict, sound_step, ())
