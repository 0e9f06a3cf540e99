"""Outcomes come back from their file as they were."""

from pathlib import Path

from benchmarks.faults.outcome import Alarm, Incident, Outcome, Outcomes, as_json, publish, read_outcomes
from tests.benchmarks.faults.outcomes import outcome

WHOLE = outcome(
    alarms=(Alarm(step=100, after=110, kind="drift"), Alarm(step=104, after=105)),
    incidents=(Incident(repairs=("roll_back", "continue"), lost_steps=10),),
    notes={"rates": [[100, 0.5]]},
    questions=1,
    seconds=3.25,
)


def test_an_outcome_is_found_again_for_the_same_code_alone(tmp_path: Path) -> None:
    Outcomes(tmp_path / "o.jsonl").add(WHOLE)
    again = Outcomes(tmp_path / "o.jsonl")
    assert again.find("aft", "garbage_tokens", 0, "v") == WHOLE
    assert again.find("aft", "garbage_tokens", 0, "w") is None


def test_what_another_process_added_is_read(tmp_path: Path) -> None:
    ours, theirs = Outcomes(tmp_path / "o.jsonl"), Outcomes(tmp_path / "o.jsonl")
    theirs.add(WHOLE)
    ours.read()
    assert ours.find("aft", "garbage_tokens", 0, "v") == WHOLE


def test_an_alarm_raised_at_once_is_stored_as_its_step() -> None:
    assert as_json(WHOLE)["alarms"] == [[100, 110, "drift"], 104]


def test_defaults_are_not_stored() -> None:
    bare = Outcome(system="a", case="c", seed=1, version="v", steps=240, armed_steps=176)
    assert set(as_json(bare)) == {"system", "case", "seed", "version", "steps", "armed_steps"}


def test_published_outcomes_are_in_order_and_carry_no_notes(tmp_path: Path) -> None:
    publish(tmp_path / "p.jsonl", [outcome(seed=1), WHOLE])
    first, second = read_outcomes(tmp_path / "p.jsonl")
    assert (first.seed, second.seed) == (0, 1)
    assert first.alarms == WHOLE.alarms
    assert first.notes == {}
    assert first.seconds == 0
