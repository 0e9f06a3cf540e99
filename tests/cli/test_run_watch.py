"""Following a run: nothing twice, nothing lost, through rollbacks and silences."""

import math

import pytest

from aft_cli.client import AftClient
from aft_cli.errors import ApiError
from aft_cli.run_watch import EVENT_PAGE, RunPicture, follow
from aft_contracts import EventKind, RunStatus, Schedule, StepRecord
from tests.cli.scripted_api import ScriptedApi


def _steps(first: int, end: int, loss: float) -> list[StepRecord]:
    return [
        StepRecord(step=step, loss=loss, grad_norm=1.0, lr=1e-4, clip_norm=1.0, tokens=8, applied=True, seconds=0.1)
        for step in range(first, end)
    ]


class Clock:
    """A clock that moves only when someone sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def _follow(api: ScriptedApi, scenes: list[dict[str, object]]) -> list[RunPicture]:
    """Pictures of a run that plays one scene between two of them; the last scene ends it."""
    pictures = []
    with AftClient(api.url) as client:
        for picture in follow(client, "r1", poll_s=0.01):
            pictures.append(picture)
            if scenes:
                scene = scenes.pop(0)
                api.steps = scene.pop("steps", api.steps)  # type: ignore[assignment]
                api.change(**scene)
    return pictures


def test_each_step_and_each_event_is_new_once(api: ScriptedApi) -> None:
    api.steps = _steps(0, 2, math.nan)
    api.happen(EventKind.RUN_STARTED, "Started.")
    pictures = _follow(api, [{"steps": _steps(0, 4, math.nan)}, {"status": RunStatus.SUCCEEDED}])
    assert [[step.step for step in picture.new_steps] for picture in pictures] == [[0, 1], [2, 3], []]
    assert [[event.message for event in picture.new_events] for picture in pictures] == [["Started."], [], []]
    assert [step.step for step in pictures[-1].steps] == [0, 1, 2, 3]
    assert pictures[-1].is_final


def test_rollback_takes_steps_back(api: ScriptedApi) -> None:
    api.steps = _steps(0, 6, 1.0)
    # The schedule is ahead of the run's own generation, which counts committed windows.
    rolled = {"schedule": Schedule().rolled_back(2), "steps": [*_steps(0, 2, 1.0), *_steps(2, 5, 0.5)]}
    pictures = _follow(api, [rolled, {"generation": 1}, {"status": RunStatus.STOPPED}])
    assert [(step.step, step.loss) for step in pictures[1].new_steps] == [(2, 0.5), (3, 0.5), (4, 0.5)]
    assert [picture.new_steps for picture in pictures[2:]] == [(), ()]
    assert [(step.step, step.loss) for step in pictures[-1].steps] == [(0, 1.0), (1, 1.0), (2, 0.5), (3, 0.5), (4, 0.5)]


def test_event_of_the_end_is_not_lost(api: ScriptedApi) -> None:
    looks: list[str] = []

    def end_between_the_questions(path: str) -> None:
        looks.append(path)
        if looks == ["/runs/r1/events", "/runs/r1"]:
            api.change(status=RunStatus.SUCCEEDED)
            api.happen(EventKind.RUN_SUCCEEDED, "Done.")

    api.on_look = end_between_the_questions
    with AftClient(api.url) as client:
        last = list(follow(client, "r1", poll_s=0.01))[-1]
    assert [event.message for event in last.events] == ["Done."]


def test_silence_is_waited_out_for_as_long_as_patience_lasts(api: ScriptedApi) -> None:
    clock = Clock()
    with AftClient(api.url) as client:
        pictures = follow(client, "r1", poll_s=1.0, patience_s=5.0, clock=clock, sleep=clock.sleep)
        next(pictures)
        client._http.base_url = "http://127.0.0.1:1"  # nobody listens on port 1
        with pytest.raises(ApiError, match="cannot be reached"):
            next(pictures)
    assert 5.0 < clock.now_s < 8.0


def test_run_that_has_ended_is_shown_with_all_its_events(api: ScriptedApi) -> None:
    for number in range(2 * EVENT_PAGE + 50):
        api.happen(EventKind.WINDOW_COMMITTED, str(number))
    api.change(status=RunStatus.SUCCEEDED)
    with AftClient(api.url) as client:
        [picture] = follow(client, "r1", poll_s=0.01)
    assert [event.message for event in picture.events] == [str(number) for number in range(2 * EVENT_PAGE + 50)]


def test_store_that_is_away_for_a_moment_is_waited_for(api: ScriptedApi) -> None:
    with AftClient(api.url) as client:
        pictures = follow(client, "r1", poll_s=0.01)
        next(pictures)
        api.away = 2
        api.change(status=RunStatus.SUCCEEDED)
        assert list(pictures)[-1].is_final


def test_unknown_run_is_refused_at_once(api: ScriptedApi) -> None:
    with AftClient(api.url) as client, pytest.raises(ApiError, match="no run 'nobody'"):
        next(follow(client, "nobody"))
