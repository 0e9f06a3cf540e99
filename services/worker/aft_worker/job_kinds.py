"""The four kinds of jobs: what each is asked with, what it answers, and who does it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    Contract,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobStatus,
    WindowResult,
    WindowSpec,
)
from aft_worker.session import Session


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One kind of job; its spec is of `spec_type` and its result of `result_type`."""

    name: str
    """As it stands in the address."""
    spec_type: type[Contract]
    result_type: type[Contract]
    id_field: str
    """Field of the spec that holds the job's id."""
    perform: Callable[..., Any]
    """(session, spec, control) -> result, or a Future of it when the rest is done beside the training thread."""
    ends_as: Callable[[Any, Any], JobStatus] = lambda _spec, _result: JobStatus.COMMITTED
    """(spec, result) -> the status that the job ends with."""


def _window_ends_as(spec: WindowSpec, result: WindowResult) -> JobStatus:
    is_whole = result.end_step == spec.start_step + spec.num_steps
    return JobStatus.COMMITTED if is_whole else JobStatus.CANCELLED


WINDOWS = JobKind(
    name="windows",
    spec_type=WindowSpec,
    result_type=WindowResult,
    id_field="window_id",
    perform=Session.begin_window,
    ends_as=_window_ends_as,
)
ANALYSES = JobKind(
    name="analyses",
    spec_type=AnalysisSpec,
    result_type=AnalysisResult,
    id_field="analysis_id",
    perform=Session.replay,
)
EVALUATIONS = JobKind(
    name="evaluations",
    spec_type=EvaluationSpec,
    result_type=EvaluationResult,
    id_field="evaluation_id",
    perform=Session.evaluate,
)
EXPORTS = JobKind(
    name="exports",
    spec_type=ExportJob,
    result_type=ExportResult,
    id_field="export_id",
    perform=Session.export,
)
