"""Each invariant speaks up when it is broken, and is silent when it is not."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.facts import Facts, Window
from tests.chaos.invariants import (
    INVARIANTS,
    OF_THE_INTERRUPTED,
    errors_nobody_foresaw,
    exits_nobody_foresaw,
    violations,
)
from tests.chaos.own_exit import OwnExit
from tests.chaos.system import processes_of

FIRST = Window(index=0, generation=0, start_step=0, end_step=6, status="committed", state_digest="a")
SECOND = Window(index=1, generation=0, start_step=6, end_step=12, status="committed", state_digest="b")
THIRD = Window(index=2, generation=1, start_step=6, end_step=12, status="committed", state_digest="c")
GOOD = Facts(
    run_id="run-1",
    status="succeeded",
    windows=(FIRST, SECOND, THIRD),
    adapter=b"weights",
    evaluations=({"step": 0, "scores": {"plain": {"loss": 3.0, "tokens": 9}}},),
    blacklist=(("row-060", 6),),
    reviews=(("run:0:1:d:review", "decided", "edit"),),
    review_events=("run:0:1:d:review",),
    announced=("run_review_requested", "run_succeeded_end"),
    delivered=("run_review_requested", "run_review_requested", "run_succeeded_end"),
)
BROKEN: dict[str, tuple[Facts, str]] = {
    "it failed": (replace(GOOD, status="failed"), "succeeded: the run is failed"),
    "a window is missing": (replace(GOOD, windows=(FIRST, THIRD)), "indices are [0, 2]"),
    "a window was trained twice": (
        replace(GOOD, windows=(FIRST, SECOND, replace(SECOND, index=2))), "has 2 windows from step 6",
    ),
    "a gap between windows": (
        replace(GOOD, windows=(FIRST, replace(SECOND, start_step=7), THIRD)), "begins at step 7, not 6",
    ),
    "an old generation again": (
        replace(GOOD, windows=(FIRST, replace(SECOND, generation=1), replace(THIRD, generation=0))),
        "older generation",
    ),
    "a window left open": (
        replace(GOOD, windows=(FIRST, SECOND, replace(THIRD, status="running"))), "window 2 is running",
    ),
    "a window of another length": (
        replace(GOOD, windows=(FIRST, SECOND, replace(THIRD, end_step=11))), "(generation, start, end) differ",
    ),
    "another state": (
        replace(GOOD, windows=(FIRST, SECOND, replace(THIRD, state_digest="d"))), "after window 2 the state",
    ),
    "other weights": (replace(GOOD, adapter=b"weightz"), "exported weights differ"),
    "no weights": (replace(GOOD, adapter=b""), "exported weights differ"),
    "other scores": (replace(GOOD, evaluations=()), "scores differ"),
    "another blacklist": (replace(GOOD, blacklist=()), "blacklist differs"),
    "a question asked twice": (
        replace(GOOD, review_events=GOOD.review_events * 2), "run:0:1:d:review was asked 2 times",
    ),
    "one more question": (
        replace(GOOD, reviews=(*GOOD.reviews, ("run:1:2:d:review", "open", ""))), "asked_twice: the reviews are",
    ),
    "a question without an event": (replace(GOOD, review_events=()), "do not fit the events"),
    "a message lost": (replace(GOOD, delivered=GOOD.delivered[:2]), "run_succeeded_end never arrived"),
    "a message out of nowhere": (replace(GOOD, delivered=(*GOOD.delivered, "run_x")), "run_x was never announced"),
    "a message not announced": (
        replace(GOOD, announced=GOOD.announced[:1], delivered=GOOD.delivered[:1]), "announced was",
    ),
}  # fmt: skip


def test_an_undisturbed_run_breaks_nothing() -> None:
    assert violations(GOOD, GOOD) == []


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_seen(case: str) -> None:
    broken, words = BROKEN[case]
    assert words in "\n".join(violations(broken, GOOD))


def test_every_invariant_can_fail() -> None:
    failed = {invariant for broken, _ in BROKEN.values() for invariant in INVARIANTS if invariant(broken, GOOD)}
    assert failed == set(INVARIANTS)


CALM = replace(GOOD, windows=(replace(FIRST, end_step=12, state_digest="b"),), reviews=(), review_events=())
INTERRUPTED = replace(CALM, windows=(FIRST, replace(FIRST, index=1, start_step=6), replace(SECOND, index=2)))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (INTERRUPTED, ""),
        (replace(INTERRUPTED, windows=(FIRST, replace(SECOND, start_step=7))), "begins at step 7, not 6"),
        (replace(INTERRUPTED, windows=(FIRST, replace(SECOND, state_digest="c"))), "ends with (12, 'c')"),
        (replace(INTERRUPTED, windows=(FIRST,)), "ends with (6, 'a')"),
        (replace(INTERRUPTED, adapter=b"weightz"), "exported weights differ"),
        (replace(INTERRUPTED, reviews=GOOD.reviews), "asked_twice: the reviews are"),
    ],
)
def test_an_interrupted_runs_windows_end_elsewhere_and_nothing_else_differs(found: Facts, words: str) -> None:
    said = "\n".join(violations(found, CALM, invariants=OF_THE_INTERRUPTED))
    assert words in said
    assert bool(words) == bool(said)


def test_a_process_that_is_left_is_found_until_it_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "AFT_DATA_DIR": str(tmp_path)}
    waits = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = processes_of(tmp_path)
        child.communicate(b"\n")
    assert [line.split()[0] for line in found] == [str(child.pid)]
    assert processes_of(tmp_path) == []


def test_only_an_api_without_its_store_may_end_by_itself() -> None:
    exits = [OwnExit(module=module, code=code, words="w") for module in ("aft_api", "aft_worker") for code in (3, 1)]
    assert exits_nobody_foresaw(exits) == [f"ended by itself: {one}" for one in exits[1:]]


def test_errors_that_nobody_foresaw_are_found_in_logs() -> None:
    assert errors_nobody_foresaw(["api_started\ncycle_failed run_id=r"]) == ["cycle_failed run_id=r"]
    assert errors_nobody_foresaw(["claim_failed", "lease_lost"]) == []
