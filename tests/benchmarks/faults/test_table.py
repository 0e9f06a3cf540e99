"""The table of outcomes that are known."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.faults.outcome import Alarm, Incident, Outcome, publish
from benchmarks.faults.table import Comparison, fill, on_common_seeds
from benchmarks.faults.tables import BEGIN, END, NONE_YET, published, tables, with_tables
from benchmarks.report import Report
from tests.benchmarks.faults.outcomes import outcome

ROOT = Path(__file__).resolve().parents[3]
PEER = "OLMo-core SkipStep"
OTHERS = (PEER, "no supervision")
AT_ONCE = (Alarm(step=100, after=101),)


def comparison(outcomes: Sequence[Outcome]) -> Comparison:
    return Comparison(
        outcomes=outcomes,
        faults=["garbage_tokens"],
        controls=["clean", "hard_rare_rows"],
        hard_faults=["rate_too_high_from_start"],
    )


def runs(seed: int, *, peer: dict[str, Any] | None = None, ours: dict[str, Any] | None = None) -> list[Outcome]:
    """A seed's disturbed and quiet runs of aft, of a peer and without supervision."""
    quiet: dict[str, Any] = {
        "case": "clean", "first_step": None, "harmed_after": None, "verdict": None, "culprits": (), "findings": (),
        "alarms": (), "armed_before": 0,
    }  # fmt: skip
    theirs = {"findings": (), "alarms": AT_ONCE} | (peer or {})
    return [
        outcome(seed=seed, **ours or {}),
        outcome(seed=seed, **quiet),
        outcome(seed=seed, system=PEER, **theirs),
        outcome(seed=seed, system=PEER, **quiet),
        outcome(seed=seed, system="no supervision", findings=(), alarms=(), loss=None),
        outcome(seed=seed, system="no supervision", **quiet),
    ]


def filled(outcomes: Sequence[Outcome]) -> Report:
    report = Report(benchmark="faults", machine={})
    fill(report, comparison(outcomes))
    return report


def value(report: Report, case: str, figure: str) -> float:
    (row,) = [row for row in report.rows if row.case == case and row.figure.name == figure]
    return row.value


def test_a_fault_that_nothing_gives_away_is_shown_and_counts_in_no_total() -> None:
    missed = {"case": "rate_too_high_from_start", "alarms": (), "findings": (), "culprits": ()}
    report = filled([*runs(0), outcome(seed=0, **missed), *(outcome(seed=0, system=one, **missed) for one in OTHERS)])
    assert value(report, "rate_too_high_from_start", "recall") == 0.0
    assert value(report, "aft", "recall_all") == 1.0
    assert "rate_too_high_from_start" not in {row.case for row in report.misses}


def test_systems_are_compared_on_the_seeds_that_all_of_them_ran() -> None:
    ours_alone = [one for one in runs(2, ours={"alarms": ()}) if one.system != PEER]
    both = [*runs(0), *runs(1), *ours_alone]
    assert on_common_seeds(comparison(both)).seeds == [0, 1]
    report = filled(both)
    assert value(report, "aft", "recall_all") == 1.0
    assert report.notes == ["Left out, for not every system ran every case: seeds 2."]


def test_one_fault_alone_needs_no_control_but_the_undisturbed_run() -> None:
    some = [one for one in runs(0) if one.case != "clean" or one.system == "no supervision"]
    assert on_common_seeds(comparison(some)).seeds == [0]


def test_aft_behind_a_peer_in_a_column_is_a_miss() -> None:
    report = filled([*runs(0), *runs(1, ours={"alarms": ()})])
    assert value(report, f"aft beside {PEER}", "recall_all_lead") == -0.5
    missed = {row.figure.name for row in report.misses if row.case == f"aft beside {PEER}"}
    assert missed == {"recall_all_lead", "recall_min_lead"}


def test_a_figure_that_must_be_low_leads_where_the_other_has_more() -> None:
    report = filled([*runs(0, peer={"questions": 1}), *runs(1)])
    assert value(report, f"aft beside {PEER}", "human_questions_lead") == 0.5


def test_a_run_that_was_ended_is_told_beside_those_that_healed() -> None:
    report = filled([*runs(0, peer={"status": "stopped", "loss": None}), *runs(1)])
    assert value(report, PEER, "ended_runs") == 0.5
    assert value(report, PEER, "healed_within_1pct") == 0.5


def test_an_alarm_on_a_control_is_a_miss_and_told_by_its_name() -> None:
    hard = outcome(case="hard_rare_rows", first_step=None, harmed_after=None, verdict=None, culprits=())
    peer = outcome(case="hard_rare_rows", system=PEER, alarms=(), first_step=None, culprits=())
    alone = outcome(case="hard_rare_rows", system="no supervision", alarms=(), first_step=None, culprits=())
    report = filled([*runs(0), hard, peer, alone])
    assert value(report, "aft", "false_alarms_per_10k") == 1 / 352 * 10_000
    assert value(report, "control hard_rare_rows", "rows_blamed") == 1
    assert value(report, "control clean", "rows_blamed") == 0
    assert [row.figure.name for row in report.misses] == ["false_alarms_per_10k", "false_alarms_per_10k_lead"]


def test_tables_tell_what_the_outcomes_do(tmp_path: Path) -> None:
    banned = replace(outcome().findings[0], banned=("x", "innocent"))
    costly = {
        "questions": 1,
        "replayed_steps": 84,
        "findings": (banned,),
        "incidents": (Incident(repairs=("rollback",), lost_steps=10),),
    }
    publish(tmp_path / "p.jsonl", [*runs(0), *runs(1, ours=costly)])
    text = tables([tmp_path / "p.jsonl"])
    assert "2 seeds (0 to 1), 2 disturbed runs of aft" in text
    found = "| `garbage_tokens` | 2 of 2 | 9 | data 2 | 2 of 2 | 2 of 2 | 0 | 2 |"
    assert f"{found} 2 of 2 | 1.000, at most 1.000 | 2 without a loss |" in text
    assert f"| {PEER} | 2 of 2 | 1 | 0 | 2 of 2 | 0 | 0 in 352 | 0 in 72 | 0 | 0 | 0 |" in text
    assert "| aft | 2 of 2 | 1 | 9 | 2 of 2 | 0 | 0 in 352 | 0 in 72 | 1 | 1 | 94 |" in text
    assert "| `replayed_steps_per_diagnosis` | 42 |" in text
    assert tables([]) == f"{NONE_YET}\n"


def test_tables_take_the_place_of_those_before() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_tables(page, "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_the_page_shows_what_is_published() -> None:
    page = (ROOT / "docs/HEALING.md").read_text()
    assert with_tables(page, tables(published())) == page
