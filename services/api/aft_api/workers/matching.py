"""Matching: which waiting run goes to which worker. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A run that waits for a slot."""

    run_id: str
    root_id: str | None
    """Storage root that has its files; None while it has none."""
    last_url: str | None
    """Where it was last, whose caches may still be warm."""


@dataclass(kw_only=True)
class Room:
    """A worker that may be given runs."""

    worker_id: str
    base_url: str
    root_id: str
    free: int
    """Slots that nobody holds, or that a parked run holds."""


def match(waiting: Iterable[Waiting], rooms: Sequence[Room]) -> dict[str, str]:
    """Worker id by run id, for as many as find room; `waiting` is in the order in which slots are due.

    A run goes to a worker that reaches its files: back to where it was last, else to the one with most room. One that
    finds none holds nobody up behind it.
    """
    free = {room.worker_id: room.free for room in rooms}
    known = {room.worker_id: room for room in rooms}
    matched: dict[str, str] = {}
    for run in waiting:
        fitting = [room for room in known.values() if free[room.worker_id] > 0 and run.root_id in {None, room.root_id}]
        if fitting:
            best = max(fitting, key=lambda room: (room.base_url == run.last_url, free[room.worker_id]))
            free[best.worker_id] -= 1
            matched[run.run_id] = best.worker_id
    return matched
