"""What an alarm says."""

import pytest

from aft_api.supervisor.alarms import in_words
from aft_contracts import Anomaly, AnomalyKind


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"kind": AnomalyKind.LOSS_SPIKE, "applied": False},
            "loss_spike at step 41: 9.0 robust standard deviations out; the guard withheld its update.",
        ),
        (
            {"kind": AnomalyKind.REPETITION, "value": 0.984, "sample_ids": ("r7", "r9")},
            "repetition at step 41: 98% of r7 says what it has said before (also named: r9), and its gradient is "
            "9.0 robust standard deviations out, over 6; its update was applied.",
        ),
        (
            {"kind": AnomalyKind.OPPOSED_ROWS},
            "opposed_rows at step 41: losses rose through the whole batch while gradients fell, 9.0 robust standard "
            "deviations out, over 6; its update was applied.",
        ),
        ({"kind": AnomalyKind.STALL}, "stall at step 41: nothing was learned in 9 steps in a row."),
        (
            {"kind": AnomalyKind.EVALUATION_DROP, "domain": "chat"},
            "evaluation_drop at step 41: the held-out loss of chat rose to 3.500, 9.0 robust standard deviations out.",
        ),
    ],
)
def test_an_alarm_names_step_figures_and_what_became_of_the_update(facts, words) -> None:
    anomaly = Anomaly(**{"step": 41, "value": 3.5, "score": 9.0, "threshold": 6.0, "applied": True} | facts)
    assert in_words(anomaly) == words
