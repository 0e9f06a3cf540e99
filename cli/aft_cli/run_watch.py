"""Follows a run over the API: one picture after the other until the run ends."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aft_cli.client import AftClient
from aft_cli.errors import ApiError
from aft_contracts import FINISHED, Event, Review, RunView, StepRecord

POLL_S = 1.0
PATIENCE_S = 60.0
EVENT_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class RunPicture:
    """A run at one moment, and what is new since the picture before."""

    run: RunView
    steps: tuple[StepRecord, ...] = ()
    events: tuple[Event, ...] = ()
    review: Review | None = None
    new_steps: tuple[StepRecord, ...] = ()
    new_events: tuple[Event, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.run.status in FINISHED


def follow(
    client: AftClient,
    run_id: str,
    *,
    poll_s: float = POLL_S,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[RunPicture]:
    """Pictures of a run, about one every `poll_s`; the last one is final.

    An API that falls silent, or has no answer just now, is asked again for `patience_s`: it or its store may restart.

    Raises:
        ApiError: the API refused, or was silent for longer.
    """
    picture: RunPicture | None = None
    heard_s = clock()
    while picture is None or not picture.is_final:
        try:
            picture = _next_picture(client, run_id, picture, poll_s)
            heard_s = clock()
        except ApiError as error:
            if picture is None or not error.is_passing or clock() - heard_s > patience_s:
                raise
            sleep(poll_s)
            continue
        yield picture


def _next_picture(client: AftClient, run_id: str, before: RunPicture | None, poll_s: float) -> RunPicture:
    known = before.events if before else ()
    wait_s = poll_s if before else 0.0
    # Asked before the run itself: a picture that says "ended" then holds the events of the end as well.
    new_events = client.events(run_id, after=known[-1].seq if known else 0, limit=EVENT_PAGE, wait_s=wait_s)
    run = client.run(run_id)
    if run.status in FINISHED:
        last_seq = max((event.seq for event in (*known, *new_events)), default=0)
        new_events += client.all_events(run_id, after=last_seq)
    kept, asked_after = _kept(before, run)
    new_steps = tuple(client.steps(run_id, after=asked_after))
    return RunPicture(
        run=run,
        steps=kept + new_steps,
        events=(*known, *new_events),
        review=client.review(run.review_id) if run.review_id else None,
        new_steps=new_steps,
        new_events=tuple(new_events),
    )


def _kept(before: RunPicture | None, run: RunView) -> tuple[tuple[StepRecord, ...], int | None]:
    """Steps that still count, and the step after which to ask for more; a rollback takes steps back."""
    if before is None or not before.steps:
        return (), None
    kept = before.steps
    for branch in run.schedule.branches:
        if branch.generation > before.run.schedule.generation:
            kept = tuple(step for step in kept if step.step < branch.step)
    return kept, kept[-1].step if kept else None
