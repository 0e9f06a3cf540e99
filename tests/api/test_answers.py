"""Judgments of answers: the truth passes, and every lie is told in words."""

from collections.abc import Callable
from typing import Any

import pytest

from aft_api.answers import JobSpec, job_misfit, load_misfit
from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    CheckpointRef,
    Contract,
    DomainScore,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobStatus,
    JobView,
    LoadedRun,
    LoadStatus,
    MetricsWindow,
    Problem,
    Replay,
    ReplayVariant,
    RunLoad,
    RunSpec,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    digest_of,
)
from tests.api.conftest import spec_json

RUN = RunSpec.model_validate(spec_json())
PROBLEM = Problem(title="t", status=500, code="c", detail="d")


def steps(*numbers: int) -> tuple[StepRecord, ...]:
    """Records of these steps."""
    return tuple(
        StepRecord(step=n, loss=1.0, grad_norm=1.0, lr=1.0, clip_norm=1.0, tokens=1, applied=True, seconds=0.0)
        for n in numbers
    )


WINDOW = WindowSpec(
    window_id="r:0:1", run_id="r", generation=0, index=1, start_step=4, num_steps=3, schedule=Schedule()
)
TRAINED = WindowResult(
    window_id="r:0:1",
    start_step=4,
    end_step=7,
    metrics=MetricsWindow(window_id="r:0:1", steps=steps(4, 5, 6)),
    checkpoint=CheckpointRef(generation=0, step=7, uri="file:///c", manifest_digest="0"),
    state_digest="0",
)
ANALYSIS = AnalysisSpec(
    analysis_id="a",
    run_id="r",
    schedule=Schedule(),
    start_step=4,
    end_step=6,
    variants=(ReplayVariant(name="as_it_was"), ReplayVariant(name="without", masked_sample_ids=("s",))),
)
REPLAYED = AnalysisResult(
    analysis_id="a",
    replays=(
        Replay(name="as_it_was", masked_sample_ids=(), steps=steps(4, 5)),
        Replay(name="without", masked_sample_ids=("s",), steps=steps(4, 5)),
    ),
    seconds=0.1,
)
EVALUATION = EvaluationSpec(evaluation_id="e", run_id="r", schedule=Schedule(), step=7)
SCORED = EvaluationResult(evaluation_id="e", step=7, scores={"chat": DomainScore(loss=float("nan"), tokens=1)})
EXPORT = ExportJob(export_id="x", run_id="r", schedule=Schedule(), step=7, adapter=True, merged=False)
WRITTEN = ExportResult(export_id="x", adapter_path="/x")
TRUTHS: dict[str, tuple[JobSpec, Contract]] = {
    "window": (WINDOW, TRAINED),
    "analysis": (ANALYSIS, REPLAYED),
    "evaluation": (EVALUATION, SCORED),
    "export": (EXPORT, WRITTEN),
}


def view_of(asked: JobSpec, result: Contract | None, **changes: Any) -> JobView[Any]:
    """The job, committed with this result unless changed."""
    told = {"job_id": "j", "spec_hash": digest_of(asked), "status": JobStatus.COMMITTED, "result": result}
    return JobView[Any](**{**told, **changes})


def judged(asked: JobSpec, view: JobView[Any]) -> str | None:
    """The judgment on a view."""
    return job_misfit(view, asked, digest_of(asked), RUN)


def with_steps(*numbers: int, end_step: int | None = None) -> WindowResult:
    """A window that tells of these steps."""
    end = TRAINED.end_step if end_step is None else end_step
    return TRAINED.model_copy(
        update={
            "metrics": MetricsWindow(window_id="r:0:1", steps=steps(*numbers)),
            "end_step": end,
            "checkpoint": TRAINED.checkpoint.model_copy(update={"step": end}),
        }
    )


def changed(result: Contract, **fields: Any) -> Contract:
    """The result with other fields."""
    return result.model_copy(update=fields)


@pytest.mark.parametrize("kind", TRUTHS)
def test_the_truth_passes(kind: str) -> None:
    asked, result = TRUTHS[kind]
    assert judged(asked, view_of(asked, result)) is None
    for status in (JobStatus.ACCEPTED, JobStatus.RUNNING, JobStatus.TRAINED):
        assert judged(asked, view_of(asked, None, status=status)) is None
    assert judged(asked, view_of(asked, None, status=JobStatus.FAILED, problem=PROBLEM)) is None


def test_a_window_that_was_cut_short_passes() -> None:
    for short in (with_steps(4, 5, end_step=6), with_steps(end_step=4)):
        assert judged(WINDOW, view_of(WINDOW, short, status=JobStatus.CANCELLED)) is None


def test_progress_passes() -> None:
    for told in ((), (4,), (4, 5, 6)):
        assert judged(WINDOW, view_of(WINDOW, None, status=JobStatus.RUNNING, progress=steps(*told))) is None


LIES: dict[str, tuple[Callable[[], tuple[JobSpec, JobView[Any]]], str]] = {
    "another spec": (lambda: (WINDOW, view_of(WINDOW, TRAINED, spec_hash="0")), "another spec"),
    "no result": (lambda: (WINDOW, view_of(WINDOW, None)), "status committed and no result"),
    "a result too soon": (
        lambda: (WINDOW, view_of(WINDOW, TRAINED, status=JobStatus.RUNNING)), "status running and a result",
    ),
    "failed without a reason": (lambda: (WINDOW, view_of(WINDOW, None, status=JobStatus.FAILED)), "not why"),
    "another window": (lambda: (WINDOW, view_of(WINDOW, changed(TRAINED, window_id="r:0:0"))), "window 'r:0:0'"),
    "metrics of another window": (
        lambda: (WINDOW, view_of(WINDOW, changed(TRAINED, metrics=MetricsWindow(window_id="r", steps=())))),
        "result of window",
    ),
    "a result of another kind": (lambda: (WINDOW, view_of(WINDOW, SCORED)), "a EvaluationResult"),
    "another start": (lambda: (WINDOW, view_of(WINDOW, changed(TRAINED, start_step=3))), "begins at step 3"),
    "an end behind what was asked": (
        lambda: (WINDOW, view_of(WINDOW, with_steps(4, 5, 6, 7, end_step=8))), "committed at step 8",
    ),
    "an early end that is not said to be one": (
        lambda: (WINDOW, view_of(WINDOW, with_steps(4, 5, end_step=6))), "committed at step 6",
    ),
    "an end before the start": (
        lambda: (WINDOW, view_of(WINDOW, with_steps(end_step=2), status=JobStatus.CANCELLED)), "cancelled at step 2",
    ),
    "steps backwards": (lambda: (WINDOW, view_of(WINDOW, with_steps(6, 5, 4))), "are 6, 5, 4"),
    "a step twice": (lambda: (WINDOW, view_of(WINDOW, with_steps(4, 4, 5, 6))), "are 4, 4, 5, 6"),
    "a gap": (lambda: (WINDOW, view_of(WINDOW, with_steps(4, 6))), "are 4, 6"),
    "no steps": (lambda: (WINDOW, view_of(WINDOW, with_steps())), "are none"),
    "a checkpoint of another step": (
        lambda: (WINDOW, view_of(WINDOW, changed(TRAINED, checkpoint=changed(TRAINED.checkpoint, step=6)))),
        "checkpoint of step 6",
    ),
    "a checkpoint of another generation": (
        lambda: (WINDOW, view_of(WINDOW, changed(TRAINED, checkpoint=changed(TRAINED.checkpoint, generation=1)))),
        "generation 1",
    ),
    "progress backwards": (
        lambda: (WINDOW, view_of(WINDOW, None, status=JobStatus.RUNNING, progress=steps(5, 4))), "are 5, 4",
    ),
    "progress behind the end": (
        lambda: (WINDOW, view_of(WINDOW, None, status=JobStatus.RUNNING, progress=steps(4, 5, 6, 7))), "4 in all",
    ),
    "another analysis": (lambda: (ANALYSIS, view_of(ANALYSIS, changed(REPLAYED, analysis_id="b"))), "analysis 'b'"),
    "more steps on the way than lie before the first": (
        lambda: (ANALYSIS, view_of(ANALYSIS, changed(REPLAYED, approach_steps=5))), "5 steps on the way to step 4",
    ),
    "a replay too few": (
        lambda: (ANALYSIS, view_of(ANALYSIS, changed(REPLAYED, replays=REPLAYED.replays[:1]))), "['as_it_was'], not",
    ),
    "replays in another order": (
        lambda: (ANALYSIS, view_of(ANALYSIS, changed(REPLAYED, replays=REPLAYED.replays[::-1]))), "['without', 'as_it",
    ),
    "other samples masked": (
        lambda: (
            ANALYSIS,
            view_of(
                ANALYSIS,
                changed(REPLAYED, replays=(REPLAYED.replays[0], changed(REPLAYED.replays[1], masked_sample_ids=()))),
            ),
        ),
        "as masked",
    ),
    "other steps replayed": (
        lambda: (
            ANALYSIS,
            view_of(
                ANALYSIS, changed(REPLAYED, replays=(changed(REPLAYED.replays[0], steps=steps(5)), REPLAYED.replays[1]))
            ),
        ),
        "are 5 (1 in all)",
    ),
    "another evaluation": (lambda: (EVALUATION, view_of(EVALUATION, changed(SCORED, evaluation_id="f"))), "'f'"),
    "another step scored": (lambda: (EVALUATION, view_of(EVALUATION, changed(SCORED, step=6))), "scores step 6"),
    "another domain scored": (lambda: (EVALUATION, view_of(EVALUATION, changed(SCORED, scores={}))), "['chat']"),
    "an evaluation cancelled": (
        lambda: (EVALUATION, view_of(EVALUATION, SCORED, status=JobStatus.CANCELLED)), "only a window can be",
    ),
    "another export": (lambda: (EXPORT, view_of(EXPORT, changed(WRITTEN, export_id="y"))), "'y'"),
    "an export that is nowhere": (lambda: (EXPORT, view_of(EXPORT, changed(WRITTEN, adapter_path=None))), "adapter"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_told_in_words(lie: str) -> None:
    made, words = LIES[lie]
    misfit = judged(*made())
    assert misfit is not None
    assert words in misfit


def test_a_load_is_of_the_run_that_was_asked_for() -> None:
    asked = RunLoad(run_id="r", spec=RUN)
    ready = LoadedRun(run_id="r", status=LoadStatus.READY, spec_hash=digest_of(asked))
    assert load_misfit(ready, asked) is None
    assert load_misfit(ready.model_copy(update={"status": LoadStatus.FAILED, "problem": PROBLEM}), asked) is None
    lies = {
        "about run 'q'": {"run_id": "q"},
        "another spec": {"spec_hash": "0"},
        "not why": {"status": LoadStatus.FAILED},
    }
    for words, lie in lies.items():
        assert words in (load_misfit(ready.model_copy(update=lie), asked) or "")
