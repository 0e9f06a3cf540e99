"""Short schedules on both stores: whatever breaks off, the run ends as if nothing had. `make chaos` runs long ones."""

from pathlib import Path
from typing import Any

import pytest

from examples.tiny_model import write_tiny_model
from tests.chaos.chaos import LEASE_S, Outcome, chaos
from tests.chaos.course import spec_of
from tests.chaos.disturbances import Store, schedule
from tests.chaos.facts import Facts
from tests.chaos.invariants import errors_nobody_foresaw, exits_nobody_foresaw, violations

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workers of this module keep what JAX has compiled."""
    return tmp_path_factory.mktemp("jax")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of a few seconds, with a question in it."""
    folder = tmp_path_factory.mktemp("chaos")
    return spec_of(folder / "rows", write_tiny_model(folder / "model"), steps=30, window_steps=6)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, compiled: Path, spec: dict[str, Any]) -> Facts:
    """The same run with nothing going wrong."""
    [run] = chaos(tmp_path_factory.mktemp("undisturbed"), compiled, spec, (), Store.SQLITE).runs
    assert violations(run, run) == []
    assert len(run.reviews) == 1, "a human is asked"
    assert run.windows[-1].generation == 1, "and rolls back"
    return run


@pytest.mark.parametrize(("store", "seed", "kills", "others"), [(Store.SQLITE, 302, 2, 4), (Store.POSTGRES, 320, 3, 2)])
def test_disturbed_runs_end_like_the_undisturbed_one(
    tmp_path: Path, compiled: Path, spec: dict[str, Any], undisturbed: Facts,
    store: Store, seed: int, kills: int, others: int,
) -> None:  # fmt: skip
    disturbances = schedule(seed, kills=kills, others=others, store=store, lease_s=LEASE_S)
    outcome: Outcome = chaos(tmp_path, compiled, spec, disturbances, store)
    assert [line for run in outcome.runs for line in violations(run, undisturbed)] == []
    assert outcome.orphans == ()
    assert errors_nobody_foresaw(outcome.logs) == []
    assert exits_nobody_foresaw(outcome.own_exits) == []
