"""The worker protocol, version 1."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    Checkpoints,
    Contract,
    DataPreview,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobRequest,
    JobView,
    LoadedRun,
    LoadStatus,
    PreviewRequest,
    ReportFormat,
    RunLoad,
    RunSpec,
    SampleOrder,
    SamplesReport,
    WindowResult,
    WindowSpec,
    WorkerChanges,
    WorkerInfo,
    digest_of,
)
from aft_contracts.job import ENDED
from aft_worker.check import check_spec
from aft_worker.job_kinds import ANALYSES, EVALUATIONS, EXPORTS, WINDOWS, JobKind
from aft_worker.ledger.formats import ReportQuery
from aft_worker.preview import preview_data
from aft_worker.refusals import InvalidId, SpecHashMismatch, TrainingThreadDead
from aft_worker.roots import refuse_outside
from aft_worker.worker import Worker

router = APIRouter(prefix="/v1")


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


At = Annotated[Worker, Depends(_worker)]
WaitS = Annotated[float, Query(ge=0, le=60, description="Longest wait for news, in seconds.")]
AfterStep = Annotated[int, Query(description="Steps up to this one are known to the caller.")]
Verify = Annotated[bool, Query(description="Whether to read every file and compare it with the manifest.")]
MOST_SAMPLES = 10_000_000
FenceToken = Annotated[int, Query(ge=0, description="Lease token of the sender.")]


@router.get("/healthz")
def health(worker: At) -> dict[str, str]:
    """Whether the worker can train."""
    if not worker.thread.is_alive:
        raise TrainingThreadDead("The training thread has ended; restart the worker.")
    return {"status": "ok"}


@router.get("/worker")
def info(worker: At) -> WorkerInfo:
    """Who the worker is and what it holds."""
    return worker.info()


@router.get("/events", response_model=WorkerChanges)
async def events(
    worker: At,
    stream: Annotated[
        str, Query(description="Stream that `after` belongs to; none tells where the present one stands.")
    ] = "",
    after: Annotated[int, Query(ge=0, description="Place in the stream that is known to the caller.")] = 0,
    wait_s: WaitS = 0.0,
    steps_wait_s: Annotated[
        float, Query(ge=0, le=60, description="How long steps alone are gathered, in seconds.")
    ] = 1.0,
) -> Response:
    """Every job that has changed, once there is one or the wait is over: one long poll for all runs of a worker."""
    await worker.changes.wait(stream, after, wait_s=wait_s, steps_wait_s=steps_wait_s)
    return _json(worker.changes.after(stream, after))


@router.post("/checks", status_code=204)
def check(spec: RunSpec, worker: At) -> None:
    """Looks at a spec's model and data without loading them."""
    refuse_outside(spec, worker.settings.input_roots)
    check_spec(spec)


@router.post("/previews")
def preview(request: PreviewRequest, worker: At) -> DataPreview:
    """Shows rows as the model will see them; their text goes to the caller alone."""
    refuse_outside(request.spec, worker.settings.input_roots)
    return preview_data(request)


@router.put("/runs/{run_id}", response_model=LoadedRun)
def put_run(run_id: str, request: JobRequest[RunLoad], worker: At) -> Response:
    """Loads a run: model, data, and the state before its first step where there is none yet."""
    _refuse_other_hash(request)
    if request.spec.run_id != run_id:
        raise InvalidId(f"run_id in the body is {request.spec.run_id!r}, in the address {run_id!r}.")
    refuse_outside(request.spec.spec, worker.settings.input_roots)
    view = worker.runs.load(request)
    return _json(view, 202 if view.status is LoadStatus.LOADING else 200)


@router.get("/runs/{run_id}", response_model=LoadedRun)
async def get_run(run_id: str, worker: At, wait_s: WaitS = 0.0) -> Response:
    """A run as it is held, once it is loaded or the wait is over."""
    await worker.bell.wait_until(lambda: worker.runs.is_settled(run_id), wait_s)
    return _json(worker.runs.view(run_id))


@router.delete("/runs/{run_id}", status_code=204)
def delete_run(run_id: str, fence_token: FenceToken, worker: At) -> None:
    """Releases a run's devices; its unfinished jobs are dropped, its files stay."""
    worker.release(run_id, fence_token)


@router.get("/runs/{run_id}/checkpoints", response_model=Checkpoints)
def get_checkpoints(run_id: str, worker: At, verify: Verify = False) -> Response:
    """The run's checkpoints on disk, whether or not the run is loaded."""
    return _json(worker.checkpoints(run_id, verify=verify))


@router.get("/runs/{run_id}/samples", response_model=SamplesReport)
def get_samples(
    run_id: str,
    worker: At,
    order: SampleOrder = SampleOrder.SUSPICION,
    domain: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MOST_SAMPLES, description="Most samples listed.")] = 50,
    form: Annotated[ReportFormat, Query(alias="format")] = ReportFormat.JSON,
) -> Response:
    """What the run's ledger says of its samples, held or not, as of the newest committed window."""
    query = ReportQuery(order=order, domain=domain, limit=limit)
    return Response(worker.samples(run_id, query, form), media_type=form.media_type)


@router.put("/windows/{window_id}", response_model=JobView[WindowResult])
def put_window(window_id: str, request: JobRequest[WindowSpec], worker: At) -> Response:
    """Trains a window, once."""
    return _put(worker, WINDOWS, window_id, request)


@router.get("/windows/{window_id}", response_model=JobView[WindowResult])
async def get_window(window_id: str, worker: At, wait_s: WaitS = 0.0, after_step: AfterStep = -1) -> Response:
    """Where a window stands, once there is news or the wait is over."""
    return await _get(worker, WINDOWS, window_id, wait_s, after_step)


@router.post("/windows/{window_id}/cancel", response_model=JobView[WindowResult])
def cancel_window(window_id: str, worker: At, fence_token: FenceToken) -> Response:
    """Stops a window after its current step; what was trained is kept."""
    return _json(worker.jobs.cancel(WINDOWS, window_id, fence_token), 202)


@router.put("/analyses/{analysis_id}", response_model=JobView[AnalysisResult])
def put_analysis(analysis_id: str, request: JobRequest[AnalysisSpec], worker: At) -> Response:
    """Replays steps with and without suspects, on a copy of the state."""
    return _put(worker, ANALYSES, analysis_id, request)


@router.get("/analyses/{analysis_id}", response_model=JobView[AnalysisResult])
async def get_analysis(analysis_id: str, worker: At, wait_s: WaitS = 0.0, after_step: AfterStep = -1) -> Response:
    """Where an analysis stands, once it has ended or the wait is over."""
    return await _get(worker, ANALYSES, analysis_id, wait_s, after_step)


@router.put("/evaluations/{evaluation_id}", response_model=JobView[EvaluationResult])
def put_evaluation(evaluation_id: str, request: JobRequest[EvaluationSpec], worker: At) -> Response:
    """Scores every held-out domain."""
    return _put(worker, EVALUATIONS, evaluation_id, request)


@router.get("/evaluations/{evaluation_id}", response_model=JobView[EvaluationResult])
async def get_evaluation(evaluation_id: str, worker: At, wait_s: WaitS = 0.0, after_step: AfterStep = -1) -> Response:
    """Where an evaluation stands, once it has ended or the wait is over."""
    return await _get(worker, EVALUATIONS, evaluation_id, wait_s, after_step)


@router.put("/exports/{export_id}", response_model=JobView[ExportResult])
def put_export(export_id: str, request: JobRequest[ExportJob], worker: At) -> Response:
    """Writes a state in the forms that other tools read."""
    return _put(worker, EXPORTS, export_id, request)


@router.get("/exports/{export_id}", response_model=JobView[ExportResult])
async def get_export(export_id: str, worker: At, wait_s: WaitS = 0.0, after_step: AfterStep = -1) -> Response:
    """Where an export stands, once it has ended or the wait is over."""
    return await _get(worker, EXPORTS, export_id, wait_s, after_step)


def _put(worker: Worker, kind: JobKind, job_id: str, request: JobRequest[Any]) -> Response:
    _refuse_other_hash(request)
    view = worker.jobs.put(kind, job_id, request)
    return _json(view, 200 if view.status in ENDED else 202)


async def _get(worker: Worker, kind: JobKind, job_id: str, wait_s: float, after_step: int) -> Response:
    await worker.bell.wait_until(lambda: worker.jobs.is_due(kind, job_id, after_step), wait_s)
    return _json(await run_in_threadpool(worker.jobs.view, kind, job_id))


def _refuse_other_hash(request: JobRequest[Any]) -> None:
    try:
        digest = digest_of(request.spec)
    except ValueError as error:
        raise SpecHashMismatch("The spec holds a number that is not finite and cannot be hashed.") from error
    if digest != request.spec_hash:
        raise SpecHashMismatch(
            f"spec_hash is {request.spec_hash}, the spec's digest is {digest}; is the sender of another version?"
        )


def _json(contract: Contract, status: int = 200) -> Response:
    # The contract writes itself: measured values may be NaN, for which JSON has no number.
    return Response(contract.model_dump_json(), status_code=status, media_type="application/json")
