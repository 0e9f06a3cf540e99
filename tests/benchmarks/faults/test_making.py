"""What is known is not made again, in how many processes soever."""

from pathlib import Path

import pytest

from benchmarks.faults.making import Asked, known_outcomes, make_in
from benchmarks.faults.outcome import Outcomes
from benchmarks.faults.rules import Rule
from benchmarks.faults.version import code_version, peer_version
from tests.benchmarks.faults.outcomes import outcome


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Two seeds of one fault under aft alone, all of them known."""
    outcomes = Outcomes(tmp_path / "runs.jsonl")
    for seed in (3, 4):
        outcomes.add(outcome(seed=seed, version=code_version()))
        outcomes.add(outcome(seed=seed, system=Rule.name, case="clean", version=peer_version()))
    return Asked(cases=("garbage_tokens",), seeds=(3, 4), outcomes=outcomes.path, only_aft=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_known_is_not_made_again(asked: Asked, jobs: int) -> None:
    before = asked.outcomes.read_text()
    make_in(jobs, asked)
    assert asked.outcomes.read_text() == before
    assert [(one.system, one.seed) for one in known_outcomes(asked)] == [
        ("no supervision", 3), ("no supervision", 4), ("aft", 3), ("aft", 4),
    ]  # fmt: skip


def test_runs_of_other_code_are_not_known(asked: Asked) -> None:
    outcomes = Outcomes(asked.outcomes)
    outcomes.add(outcome(seed=5, version="older"))
    wider = Asked(cases=asked.cases, seeds=(5,), outcomes=asked.outcomes, only_aft=True)
    assert known_outcomes(wider) == []
