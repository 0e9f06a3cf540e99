"""Judgments of what a worker says: does an answer fit what was asked? Pure; each gives back in words what is wrong.

The shapes are checked where answers are read (`worker_client`). Here is checked what a shape cannot say.
"""

from collections.abc import Sequence
from itertools import chain

from aft_contracts import (
    ENDED,
    AnalysisResult,
    AnalysisSpec,
    Contract,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobStatus,
    JobView,
    LoadedRun,
    LoadStatus,
    RunLoad,
    RunSpec,
    StepRecord,
    WindowResult,
    WindowSpec,
    digest_of,
)

JobSpec = WindowSpec | AnalysisSpec | EvaluationSpec | ExportJob
Misfit = str | None
"""What is wrong with an answer, in words that go on from "the answer"; None when nothing is."""


def load_misfit(loaded: LoadedRun, asked: RunLoad) -> Misfit:
    """Whether a worker speaks of the run that it was asked to hold."""
    if loaded.run_id != asked.run_id:
        return f"is about run {loaded.run_id!r}, not {asked.run_id}"
    if loaded.spec_hash != digest_of(asked):
        return f"is about another spec of run {asked.run_id} (hash {loaded.spec_hash!r})"
    if loaded.status is LoadStatus.FAILED and loaded.problem is None:
        return "says that the run cannot be loaded, but not why"
    return None


def job_misfit(view: JobView[Contract], asked: JobSpec, spec_hash: str, run: RunSpec) -> Misfit:
    """Whether a job's view, ended or not, can be one of the job that was asked for; `spec_hash` is of `asked`."""
    if view.spec_hash != spec_hash:
        return f"is about another spec (hash {view.spec_hash!r}, not {spec_hash})"
    has_result = view.status in {JobStatus.COMMITTED, JobStatus.CANCELLED}
    if has_result != (view.result is not None):
        return f"has the status {view.status} and {'no' if has_result else 'a'} result"
    if view.status is JobStatus.FAILED and view.problem is None:
        return "says that the job failed, but not why"
    if isinstance(asked, WindowSpec):
        return _window_misfit(view, asked)
    if view.status is JobStatus.CANCELLED:
        return "says that the job was cancelled, which only a window can be"
    return None if view.result is None else _result_misfit(view.result, asked, run)


def _window_misfit(view: JobView[Contract], asked: WindowSpec) -> Misfit:
    end = asked.start_step + asked.num_steps
    if view.status not in ENDED and (wrong := _steps_misfit(view.progress, asked.start_step, end)):
        return f"reports steps of the window that {wrong}"
    if view.result is None:
        return None
    result = view.result
    if not isinstance(result, WindowResult):
        return f"has a {type(result).__name__} as the window's result"
    if {result.window_id, result.metrics.window_id} != {asked.window_id}:
        return f"has the result of window {result.window_id!r}"
    if result.start_step != asked.start_step:
        return f"has a result that begins at step {result.start_step}, not {asked.start_step}"
    ends_well = (
        result.end_step == end if view.status is JobStatus.COMMITTED else asked.start_step <= result.end_step <= end
    )
    if not ends_well:
        return f"is {view.status} at step {result.end_step}; the window spans {asked.start_step} to {end}"
    if wrong := _steps_misfit(result.metrics.steps, asked.start_step, result.end_step, is_whole=True):
        return f"has metrics that {wrong}"
    at = (result.checkpoint.generation, result.checkpoint.step)
    if at != (asked.generation, result.end_step):
        return f"has a checkpoint of step {at[1]}, generation {at[0]}; expected {result.end_step}, {asked.generation}"
    return None


def _result_misfit(result: Contract, asked: AnalysisSpec | EvaluationSpec | ExportJob, run: RunSpec) -> Misfit:
    match asked, result:
        case AnalysisSpec(), AnalysisResult():
            return _analysis_misfit(result, asked)
        case EvaluationSpec(), EvaluationResult():
            return _evaluation_misfit(result, asked, run)
        case ExportJob(), ExportResult():
            return _export_misfit(result, asked)
    return f"has a {type(result).__name__} as its result"


def _analysis_misfit(result: AnalysisResult, asked: AnalysisSpec) -> Misfit:
    if result.analysis_id != asked.analysis_id:
        return f"has the result of analysis {result.analysis_id!r}"
    variants = [(variant.name, frozenset(variant.masked_sample_ids)) for variant in asked.variants]
    if [(replay.name, frozenset(replay.masked_sample_ids)) for replay in result.replays] != variants:
        return f"replays {[replay.name for replay in result.replays]}, not {[name for name, _ in variants]} as masked"
    if result.approach_steps > asked.start_step:
        return f"trained {result.approach_steps} steps on the way to step {asked.start_step}"
    for replay in result.replays:
        if wrong := _steps_misfit(replay.steps, asked.start_step, asked.end_step, is_whole=True):
            return f"has a replay {replay.name!r} whose steps {wrong}"
    return None


def _evaluation_misfit(result: EvaluationResult, asked: EvaluationSpec, run: RunSpec) -> Misfit:
    if result.evaluation_id != asked.evaluation_id:
        return f"has the result of evaluation {result.evaluation_id!r}"
    if result.step != asked.step:
        return f"scores step {result.step}, not {asked.step}"
    if set(result.scores) != set(run.data.evaluation):
        return f"scores {sorted(result.scores)}; held out are {sorted(run.data.evaluation)}"
    return None


def _export_misfit(result: ExportResult, asked: ExportJob) -> Misfit:
    if result.export_id != asked.export_id:
        return f"has the result of export {result.export_id!r}"
    forms = {"adapter": (asked.adapter, result.adapter_path), "merged": (asked.merged, result.merged_path)}
    missing = [form for form, (is_wanted, path) in forms.items() if is_wanted and not path]
    return f"does not say where it wrote: {', '.join(missing)}" if missing else None


def _steps_misfit(steps: Sequence[StepRecord], start: int, end: int, *, is_whole: bool = False) -> Misfit:
    """Whether steps are those from `start` on, in order; all of them up to `end` if `is_whole`, no more otherwise."""
    expected = range(start, end if is_whole else min(end, start + len(steps)))
    if len(steps) == len(expected) and all(step.step == at for step, at in zip(steps, expected, strict=True)):
        return None
    shown = ", ".join(chain((str(step.step) for step in steps[:8]), ["…"] if len(steps) > 8 else []))
    return f"are {shown or 'none'} ({len(steps)} in all); expected were {start} to {end - 1}, in order"
