"""What counts as the last change before a window's verdict."""

import pytest

from aft_api.supervisor.evidence import Evidence
from aft_contracts import RateChange, RunSpec, Schedule, WindowSpec
from tests.api.conftest import spec_json
from tests.api.reviews.examples import step_record


@pytest.mark.parametrize(
    ("trained", "armed_from"),
    [
        (range(10, 20), 16),  # the change came within the window, so all of it warms up again
        (range(10, 16), 4),  # cancelled before the change
        (range(10, 17), 16),
        ((), 4),
    ],
)
def test_a_change_counts_once_a_step_of_the_window_was_trained_under_it(
    trained: range | tuple[()], armed_from: int
) -> None:
    rates = tuple(RateChange(step=step, scale=0.5) for step in (4, 16, 30))
    window = WindowSpec(
        window_id="r:0:1",
        run_id="r",
        generation=0,
        index=1,
        start_step=10,
        num_steps=10,
        schedule=Schedule(rates=rates),
    )
    evidence = Evidence(
        spec=RunSpec.model_validate(spec_json()),
        window=window,
        steps=tuple(map(step_record, trained)),
        history=(),
    )
    assert evidence.armed_from == armed_from
