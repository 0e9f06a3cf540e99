"""Short schedules on both stores: whatever breaks off, the run ends as if nothing had. `make chaos` runs long ones."""

from pathlib import Path

import pytest

from examples.tiny_model import write_tiny_model
from tests.chaos.chaos import LEASE_S, Outcome, chaos
from tests.chaos.course import Courses, courses_in
from tests.chaos.disturbances import Kind, Store, schedule, unmet
from tests.chaos.facts import Facts
from tests.chaos.invariants import (
    OF_THE_INTERRUPTED,
    errors_nobody_foresaw,
    exits_nobody_foresaw,
    violations,
)

pytestmark = pytest.mark.slow
SHORT = {
    Store.SQLITE: schedule(15, kills=2, others=6, store=Store.SQLITE, lease_s=LEASE_S),
    Store.POSTGRES: schedule(1, kills=3, others=6, store=Store.POSTGRES, lease_s=LEASE_S),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of this module keep what JAX has compiled."""
    return tmp_path_factory.mktemp("jax")


@pytest.fixture(scope="module")
def courses(tmp_path_factory: pytest.TempPathFactory) -> Courses:
    """Runs of a few seconds: one with a question in it, one to be interrupted."""
    folder = tmp_path_factory.mktemp("chaos")
    return courses_in(folder, write_tiny_model(folder / "model"), steps=30, window_steps=6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, compiled: Path, courses: Courses) -> tuple[Facts, Facts]:
    """The same runs with nothing going wrong."""
    outcome = chaos(tmp_path_factory.mktemp("undisturbed"), compiled, courses, (), Store.SQLITE)
    [run], [calm] = outcome.runs, outcome.interrupted
    assert violations(run, run) == []
    assert len(run.reviews) == 1, "a human is asked"
    assert run.windows[-1].generation == 1, "and rolls back"
    assert violations(calm, calm, invariants=OF_THE_INTERRUPTED) == []
    assert (len(calm.windows), calm.reviews) == (1, ())
    return run, calm


def test_the_short_schedules_hold_whatever_is_worst() -> None:
    deeds = {one.deed for disturbances in SHORT.values() for one in disturbances}
    kinds = {kind for kind, _ in deeds}
    assert {Kind.KILL_API, Kind.KILL_WORKER, Kind.KILL_POSTGRES, Kind.FREEZE_API, Kind.FREEZE_WORKER} < kinds
    assert Kind.FULL_DISK in kinds
    for alike in ({Kind.DROP_REQUEST, Kind.DROP_RESPONSE}, {Kind.DUPLICATE, Kind.LATE_DUPLICATE}):
        assert {method for kind, method in deeds if kind in alike} >= {"PUT", "POST", "DELETE"}


@pytest.mark.parametrize("store", SHORT)
def test_disturbed_runs_end_like_the_undisturbed_ones(
    tmp_path: Path, compiled: Path, courses: Courses, undisturbed: tuple[Facts, Facts], store: Store
) -> None:
    disturbances = SHORT[store]
    outcome: Outcome = chaos(tmp_path, compiled, courses, disturbances, store)
    run, calm = undisturbed
    assert [line for found in outcome.runs for line in violations(found, run)] == []
    assert [
        line for found in outcome.interrupted for line in violations(found, calm, invariants=OF_THE_INTERRUPTED)
    ] == []
    assert outcome.orphans == ()
    assert errors_nobody_foresaw(outcome.logs) == []
    assert exits_nobody_foresaw(outcome.own_exits) == []
    assert unmet(disturbances, outcome.met) == []
