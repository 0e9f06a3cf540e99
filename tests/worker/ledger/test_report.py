"""The report of a real run: what training measured is what is reported, through crashes and rollbacks."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aft_contracts import (
    ReportFormat,
    RunSpec,
    SampleOrder,
    SampleReport,
    SamplesReport,
    Schedule,
    WindowResult,
    WindowSpec,
    window_id_of,
)
from aft_worker.checkpoint.errors import CheckpointConflict
from aft_worker.ledger.errors import NothingTrainedYet, UnknownDomain
from aft_worker.ledger.formats import ReportQuery, written
from aft_worker.ledger.report import RunSamples, run_samples
from aft_worker.ledger.writer import window_path
from aft_worker.session import Session

MakeSpec = Callable[..., RunSpec]
OpenSession = Callable[..., Session]


def trained(session: Session, start: int, stop: int, index: int, schedule: Schedule | None = None) -> WindowResult:
    schedule = schedule or Schedule()
    return session.train_window(
        WindowSpec(
            window_id=window_id_of("run", schedule.generation, index),
            run_id="run",
            generation=schedule.generation,
            index=index,
            start_step=start,
            num_steps=stop - start,
            schedule=schedule,
        )
    )


def presented(samples: RunSamples) -> list[tuple[object, ...]]:
    """Everything the ledger counts, one tuple a presentation."""
    seen = samples.seen
    names = zip(seen.sample_ids[seen.sample], np.asarray(seen.domains)[seen.domain], strict=True)
    figures = (seen.step, seen.loss, seen.grad_norm, seen.accuracy, seen.tokens, seen.applied)
    return [
        (str(name), str(domain), *rest)
        for (name, domain), *rest in zip(names, *(figure.tolist() for figure in figures), strict=True)
    ]


def measured(*windows: WindowResult, before: int = 10**9) -> list[tuple[object, ...]]:
    """The same from the windows' results."""
    return [
        (s.sample_id, s.domain, step.step, s.loss, s.grad_norm, s.accuracy, s.tokens, step.applied)
        for window in windows
        for step in window.metrics.steps
        for s in step.samples
        if step.step < before
    ]


def whole(samples: RunSamples, **query: object) -> SamplesReport:
    return samples.report(**({"order": SampleOrder.SUSPICION, "domain": None, "limit": 1000} | query))  # type: ignore[arg-type]


def test_every_sample_of_every_step_counts_once_and_as_it_was_measured(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session(make_spec())
    windows = [trained(session, 4 * i, 4 * i + 4, i) for i in range(3)]
    samples = run_samples(tmp_path / "run", "run")
    assert presented(samples) == measured(*windows)
    report = whole(samples)
    assert (report.step, report.steps_recorded, report.presentations, report.rows) == (12, 12, 48, 40)
    assert sum(sample.times_seen for sample in report.samples) == 48
    one = report.samples[0]
    own = [figures for figures in measured(*windows) if figures[0] == one.sample_id]
    assert one.mean_loss == pytest.approx(np.mean([loss for _, _, _, loss, *_ in own]))
    assert one.correctness == pytest.approx(np.mean([accuracy for *_, accuracy, _, _ in own]))


def test_packed_samples_count_one_by_one(make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path) -> None:
    spec = make_spec()
    data = spec.data.model_copy(update={"packing": True, "max_length": 48})
    window = trained(open_session(spec.model_copy(update={"data": data})), 0, 3, 0)
    counted = [figures for figures in measured(window) if figures[6]]
    assert presented(run_samples(tmp_path / "run", "run")) == counted
    assert len(counted) > 3 * spec.optim.batch_size


def test_rolled_back_windows_do_not_count_and_banned_samples_are_marked(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session(make_spec())
    first, second = trained(session, 0, 4, 0), trained(session, 4, 8, 1)
    evil = first.metrics.steps[0].samples[0].sample_id
    branched = Schedule().with_blacklisted([evil], step=8, cause="test").rolled_back(6)
    third = trained(session, 6, 9, 2, branched)
    samples = run_samples(tmp_path / "run", "run")
    assert presented(samples) == measured(first, second, before=6) + measured(third)
    banned = [sample.sample_id for sample in whole(samples).samples if sample.blacklisted]
    assert banned == [evil]


def test_a_crash_before_the_commit_counts_nothing_and_training_again_writes_the_same(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    """The ledger is written before the commit, so a crash in between leaves a file of a window that never was."""
    spec = make_spec()
    session = open_session(spec)
    first = trained(session, 0, 4, 0)

    def crash(*_: object, **__: object) -> None:
        raise CheckpointConflict("the machine went down here")

    session.store.save = crash  # type: ignore[method-assign, assignment]
    with pytest.raises(CheckpointConflict):
        trained(session, 4, 8, 1)
    path = window_path(tmp_path / "run/ledger", 0, 1)
    orphan = path.read_bytes()
    assert presented(run_samples(tmp_path / "run", "run")) == measured(first)
    again = trained(open_session(spec), 4, 8, 1)
    assert path.read_bytes() == orphan
    assert presented(run_samples(tmp_path / "run", "run")) == measured(first, again)


def test_a_committed_window_that_is_asked_for_again_counts_once(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec()
    trained(open_session(spec), 0, 4, 0)
    again = trained(open_session(spec), 0, 4, 0)
    assert presented(run_samples(tmp_path / "run", "run")) == measured(again)


def test_duplicates_are_found_by_content_whatever_their_ids(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec(poison=[{"id": "twin", "text": "red red 0"}, {"id": "triplet", "text": "red red 0"}])
    trained(open_session(spec), 0, 12, 0)
    found = {sample.sample_id: sample for sample in whole(run_samples(tmp_path / "run", "run")).samples}
    alike = {name: found[name].duplicates for name in ("t0", "twin", "triplet") if name in found}
    assert alike == {name: tuple(other for other in ("t0", "twin", "triplet") if other != name) for name in alike}
    assert len(alike) >= 2
    assert found["t1"].duplicates == ()
    assert {name: found[name].lines for name in alike} == {
        name: line for name, line in {"t0": (1,), "twin": (25,), "triplet": (26,)}.items() if name in alike
    }


def test_equal_rows_without_an_id_are_one_sample_on_several_lines(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec(poison=[{"text": "again and again"}] * 12)
    trained(open_session(spec), 0, 10, 0)
    found = [s for s in whole(run_samples(tmp_path / "run", "run")).samples if s.domain == "text" and len(s.lines) > 1]
    assert len(found) == 1
    assert found[0].lines == tuple(range(25, 33)), "the first few"
    assert (found[0].duplicate_rows, found[0].duplicates) == (11, ())
    assert (found[0].times_seen > 1, found[0].epochs) == (True, 1)


def test_a_row_whose_loss_overflows_leads_the_report(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    spec = make_spec(poison=[{"id": "evil", "text": "the moon is cheese", "weight": 3e38}])
    trained(open_session(spec), 0, 14, 0)
    report = whole(run_samples(tmp_path / "run", "run"))
    evil = report.samples[0]
    assert (evil.sample_id, evil.non_finite, evil.withheld) == ("evil", evil.times_seen, evil.times_seen)
    assert evil.suspicion > 10 > report.samples[1].suspicion


def test_order_domain_and_limit_choose(make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path) -> None:
    trained(open_session(make_spec()), 0, 12, 0)
    samples = run_samples(tmp_path / "run", "run")
    by_loss = whole(samples, order=SampleOrder.LOSS, domain="asked", limit=3)
    losses = [sample.mean_loss for sample in whole(samples, domain="asked").samples]
    assert [sample.mean_loss for sample in by_loss.samples] == sorted(losses, reverse=True)[:3]
    assert (by_loss.matching, len(by_loss.samples)) == (len(losses), 3)
    least_sure = whole(samples, order=SampleOrder.CONFIDENCE).samples
    assert least_sure[0].confidence == min(sample.confidence for sample in least_sure)
    with pytest.raises(UnknownDomain, match="'text'"):
        whole(samples, domain="nowhere")


def test_a_run_without_a_committed_window_says_so(
    make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path
) -> None:
    session = open_session(make_spec())
    with pytest.raises(NothingTrainedYet, match="no committed window"):
        run_samples(tmp_path / "run", "run")
    trained(session, 0, 2, 0)
    window_path(tmp_path / "run/ledger", 0, 0).unlink()
    with pytest.raises(NothingTrainedYet, match="its ledger was removed"):
        run_samples(tmp_path / "run", "run")


def test_each_form_holds_the_same(make_spec: MakeSpec, open_session: OpenSession, tmp_path: Path) -> None:
    spec = make_spec(poison=[{"id": 'twin, "the" odd', "text": "red red 0"}])
    trained(open_session(spec), 0, 12, 0)
    samples = run_samples(tmp_path / "run", "run")
    query = ReportQuery(order=SampleOrder.SUSPICION, domain=None, limit=1000)
    report = SamplesReport.model_validate_json(written(samples, query, ReportFormat.JSON))
    table = pq.read_table(pa.BufferReader(written(samples, query, ReportFormat.PARQUET)))
    assert table.column_names == list(SampleReport.model_fields)
    assert [SampleReport.model_validate(row) for row in table.to_pylist()] == list(report.samples)
    rows = list(csv.DictReader(io.StringIO(written(samples, query, ReportFormat.CSV).decode())))
    assert [row["sample_id"] for row in rows] == [sample.sample_id for sample in report.samples]
    assert [json.loads(row["duplicates"]) for row in rows] == [list(sample.duplicates) for sample in report.samples]
    assert [float(row["suspicion"]) for row in rows] == [sample.suspicion for sample in report.samples]
    texts = [written(samples, query, form) for form in (ReportFormat.JSON, ReportFormat.CSV)]
    assert all(b"red red" not in text for text in texts)
    assert all(sample.content_hash and len(sample.content_hash) == 16 for sample in report.samples)
