"""Where a run may go."""

import pytest

from aft_contracts import FINISHED, MOVES, RunStatus


def test_every_status_has_its_moves() -> None:
    assert set(MOVES) == set(RunStatus)
    assert all(following <= set(RunStatus) for following in MOVES.values())


def test_finished_statuses_are_the_three_endings() -> None:
    assert frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.STOPPED}) == FINISHED


@pytest.mark.parametrize("status", sorted(set(RunStatus) - FINISHED))
def test_run_that_is_not_finished_can_be_stopped_and_can_fail(status: RunStatus) -> None:
    assert {RunStatus.STOPPED, RunStatus.FAILED} <= MOVES[status]


def test_every_status_can_be_reached_from_queued() -> None:
    reached, ahead = {RunStatus.QUEUED}, [RunStatus.QUEUED]
    while ahead:
        fresh = MOVES[ahead.pop()] - reached
        reached |= fresh
        ahead += fresh
    assert reached == set(RunStatus)


def test_success_comes_only_from_running() -> None:
    assert [status for status in RunStatus if RunStatus.SUCCEEDED in MOVES[status]] == [RunStatus.RUNNING]
