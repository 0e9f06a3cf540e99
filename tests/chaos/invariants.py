"""What must hold after every schedule, each as a pure function of what was found: the ways in which it does not."""

from collections import Counter
from collections.abc import Callable, Sequence

from tests.chaos.facts import Facts, Window
from tests.chaos.own_exit import OwnExit

Invariant = Callable[[Facts, Facts], list[str]]
"""(facts, those of the undisturbed run) -> what is wrong, in words."""


def succeeded(found: Facts, undisturbed: Facts) -> list[str]:
    """The run ended well."""
    return [] if found.status == "succeeded" else [f"the run is {found.status}"]


def windows_committed_once_in_order(found: Facts, undisturbed: Facts) -> list[str]:
    """Every window is committed, once, in order, without a gap, and the same ones as in the undisturbed run."""
    wrong = windows_follow_each_other(found, undisturbed)
    if [_place(window) for window in found.windows] != [_place(window) for window in undisturbed.windows]:
        wrong.append(f"(generation, start, end) differ: {[_place(window) for window in found.windows]}")
    return wrong


def windows_follow_each_other(found: Facts, undisturbed: Facts) -> list[str]:
    """Every window is committed, once, in order, without a gap, wherever they end."""
    wrong = [f"window {window.index} is {window.status}" for window in found.windows if window.status != "committed"]
    indices = [window.index for window in found.windows]
    if indices != list(range(len(indices))):
        wrong.append(f"the windows' indices are {indices}")
    # One that is cancelled before its first step trains nothing.
    trained = [window for window in found.windows if window.end_step != window.start_step]
    places = Counter((window.generation, window.start_step) for window in trained)
    wrong += [
        f"generation {place[0]} has {count} windows from step {place[1]}"
        for place, count in places.items()
        if count > 1
    ]
    for before, after in zip(found.windows, found.windows[1:], strict=False):
        if after.generation == before.generation and after.start_step != before.end_step:
            wrong.append(f"window {after.index} begins at step {after.start_step}, not {before.end_step}")
        if after.generation < before.generation:
            wrong.append(f"window {after.index} is of an older generation than the one before it")
    return wrong


def ends_in_the_same_state(found: Facts, undisturbed: Facts) -> list[str]:
    """However often it was interrupted, the last state is that of the uninterrupted run, bit for bit."""
    last, expected = ((run.windows[-1].end_step, run.windows[-1].state_digest) for run in (found, undisturbed))
    wrong = [] if last == expected and last[1] else [f"it ends with {last}, not {expected}"]
    if not found.adapter or found.adapter != undisturbed.adapter:
        wrong.append(f"the exported weights differ ({len(found.adapter)} bytes)")
    return wrong


def weights_are_bit_identical(found: Facts, undisturbed: Facts) -> list[str]:
    """Every window ended in the very state of the undisturbed run, and so did the export."""
    wrong = [
        f"after window {window.index} the state is another one"
        for window, expected in zip(found.windows, undisturbed.windows, strict=False)
        if window.state_digest != expected.state_digest or not window.state_digest
    ]
    if not found.adapter or found.adapter != undisturbed.adapter:
        wrong.append(f"the exported weights differ ({len(found.adapter)} bytes)")
    if found.evaluations != undisturbed.evaluations:
        wrong.append(f"held-out scores differ: {found.evaluations}")
    if found.blacklist != undisturbed.blacklist:
        wrong.append(f"the blacklist differs: {found.blacklist}")
    return wrong


def no_review_asked_twice(found: Facts, undisturbed: Facts) -> list[str]:
    """People are asked what they are asked in the undisturbed run, once each."""
    wrong = [
        f"{review_id} was asked {count} times" for review_id, count in Counter(found.review_events).items() if count > 1
    ]
    if found.reviews != undisturbed.reviews:
        wrong.append(f"the reviews are {found.reviews}, not {undisturbed.reviews}")
    if set(found.review_events) != {review_id for review_id, _, _ in found.reviews}:
        wrong.append(f"reviews {found.reviews} do not fit the events {found.review_events}")
    return wrong


def no_notification_lost(found: Facts, undisturbed: Facts) -> list[str]:
    """What was announced has arrived; without repetitions it is what the undisturbed run announced."""
    wrong = [f"{one} never arrived" for one in found.announced if one not in found.delivered]
    wrong += [f"{one} was never announced" for one in dict.fromkeys(found.delivered) if one not in found.announced]
    if sorted(found.announced) != sorted(undisturbed.announced):
        wrong.append(f"announced was {sorted(found.announced)}, not {sorted(undisturbed.announced)}")
    return wrong


INVARIANTS: tuple[Invariant, ...] = (
    succeeded,
    windows_committed_once_in_order,
    weights_are_bit_identical,
    no_review_asked_twice,
    no_notification_lost,
)


OF_THE_INTERRUPTED: tuple[Invariant, ...] = (
    succeeded,
    windows_follow_each_other,
    ends_in_the_same_state,
    no_review_asked_twice,
    no_notification_lost,
)
"""For a run that people paused: its windows end elsewhere, and nothing else differs."""


def violations(found: Facts, undisturbed: Facts, *, invariants: Sequence[Invariant] = INVARIANTS) -> list[str]:
    """All that is wrong with a run."""
    return [
        f"{found.run_id}: {invariant.__name__}: {wrong}"
        for invariant in invariants
        for wrong in invariant(found, undisturbed)
    ]


UNKNOWN_ERRORS = ("cycle_failed", "background_broke", "request_failed", "Task exception was never retrieved")
"""Names in the API's log that stand for errors nobody foresaw."""


def errors_nobody_foresaw(logs: Sequence[str]) -> list[str]:
    """Lines of logs that an on-call engineer would have to look into."""
    return [line[:300] for log in logs for line in log.splitlines() if any(name in line for name in UNKNOWN_ERRORS)]


COULD_NOT_START = ("aft_api", 3)
"""Module and exit status of an API whose store was away when it began: whoever manages processes tries again."""


def exits_nobody_foresaw(own_exits: Sequence[OwnExit]) -> list[str]:
    """Processes that ended by themselves and should not have, whatever happened around them."""
    return [f"ended by itself: {one}" for one in own_exits if (one.module, one.code) != COULD_NOT_START]


def _place(window: Window) -> tuple[int, int, int]:
    return window.generation, window.start_step, window.end_step
