"""A worker that speaks the real protocol and trains nothing: its losses are a pure function of the step.

It stands in for the real one where a test is about the control plane alone.
"""

import asyncio
import math
import random
from typing import Any

from fastapi import FastAPI, Request, Response

from aft_contracts import (
    ENDED,
    AnalysisResult,
    AnalysisSpec,
    CheckpointRef,
    Checkpoints,
    CheckpointView,
    DataPreview,
    DomainScore,
    DomainSize,
    EvaluationResult,
    EvaluationSpec,
    ExportJob,
    ExportResult,
    JobRequest,
    JobStatus,
    JobView,
    LoadedRun,
    LoadStatus,
    MetricsWindow,
    PreviewRequest,
    Problem,
    Replay,
    ReplayVariant,
    ReportFormat,
    RunLoad,
    SampleRecord,
    Schedule,
    StepRecord,
    WindowResult,
    WindowSpec,
    Withheld,
    WorkerInfo,
)
from aft_worker.bell import Bell
from aft_worker.changes import Changes

ROWS = 400
BATCH = 4
ARMED_FROM = 16
WINDOW = 10
"""Steps from one checkpoint to the next, unless the run's spec says otherwise."""


class SimulatedWorker:
    """One worker with slots enough, unless told otherwise.

    `poison` are sample ids whose loss is huge; `nan` those whose loss is NaN. A poisoned row that an unguarded replay
    trains on lifts the loss of all later rows by `harm_nats`, unless it is one of the `harmless`.
    """

    def __init__(self, worker_id: str = "simulated", *, slots: int = 1000, root_id: str = "simulated-root") -> None:
        self.worker_id, self.slots, self.root_id = worker_id, slots, root_id
        self.poison: set[str] = set()
        self.nan: set[str] = set()
        self.damaged_at: int | None = None
        """Step of the checkpoint that a damaged weight came into, if `nan` is its doing: before it those rows are like
        others, and on a later branch too."""
        self.harmless: set[str] = set()
        self.harm_nats = 0.3
        self.transient_steps: set[int] = set()
        self.transient_loss = math.nan
        """The loss of such a step, which the guard refuses."""
        self.rate_factors: dict[int, float] = {}
        """What the learning rate of a step is multiplied by, against the plan."""
        self._struck: set[int] = set()
        self.strikes_again = 0
        """How often a transient step strikes again when it is trained anew; a replay never shows it."""
        self.held_out_loss: list[float] = []
        self.windows: list[str] = []
        self.runs: dict[str, JobRequest[RunLoad]] = {}
        self.most_runs = 0
        """Most runs that it ever held at once."""
        self.last_load: JobRequest[RunLoad]
        self.jobs: dict[str, JobView[Any]] = {}
        self.fences: dict[str, int] = {}
        self.step_s = 0.0
        self.load_problem: Problem | None = None
        self.preview = DataPreview(domains={}, evaluation={})
        self.preview_asked: PreviewRequest | None = None
        self.reports: dict[ReportFormat, bytes] | Problem | None = None
        self.sample_queries: list[dict[str, str]] = []
        self.next_answers: list[Response] = []
        self.cancelled: set[str] = set()
        self.bell = Bell()
        self.changes = Changes(self.bell)
        """The worker's stream: `show` writes to it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self.event_polls = 0
        """How often the stream was asked for."""
        self.checkpoints: dict[str, tuple[CheckpointView, ...]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def restart(self) -> None:
        """Forget what a process forgets: loaded runs and unfinished jobs. Committed windows stay."""
        self.runs.clear()
        for task in self._tasks:
            task.cancel()
        self.jobs = {key: job for key, job in self.jobs.items() if job.status is JobStatus.COMMITTED}
        before, self.changes = self.changes, Changes(self.bell)
        before.note("runs", "", "dropped")  # whoever waits on the old stream is let go, as when a connection ends

    def hang_bell(self) -> None:
        """Bind the stream's bell to the loop that serves us; once a loop, for hanging it again forgets its waiters."""
        if self._loop is not asyncio.get_running_loop():
            self._loop = asyncio.get_running_loop()
            self.bell.hang()

    def show(self, kind: str, job_id: str, view: JobView[Any]) -> None:
        """Let the outside see a job as it stands now, and the stream tell of it."""
        self.jobs[job_id] = view
        self.changes.note(kind, job_id, view.status.value, view.progress[-1].step + 1 if view.progress else None)

    def steps(self, start: int, end: int, schedule: Schedule, masked: frozenset[str] = frozenset()) -> list[StepRecord]:
        """What training these steps measures."""
        return [self._step(step, schedule, masked) for step in range(start, end)]

    def _step(
        self, step: int, schedule: Schedule, masked: frozenset[str], *, is_real: bool = False, begins: int | None = None
    ) -> StepRecord:
        """One step, of a state that was restored from the checkpoint at step `begins`."""
        is_damaged = self.damaged_at is None or (
            schedule.generation == 0 and (step if begins is None else begins) >= self.damaged_at
        )
        nan = self.nan if is_damaged else set[str]()
        noise = random.Random(step)
        if is_real and step in self._struck and self.strikes_again:
            self.strikes_again -= 1
            self.transient_steps.add(step)
        banned = schedule.blacklist_at(step)
        ids = [f"s{(step * BATCH + row) % ROWS}" for row in range(BATCH)]
        ids = [f"substitute-{name}" if name in banned else name for name in ids]
        samples = tuple(self._sample(name, noise, masked, nan) for name in ids)
        counted = [sample for sample in samples if sample.tokens]
        loss = sum(sample.loss for sample in counted) / max(1, len(counted))
        bad = [s for s in counted if s.sample_id in self.poison]
        spiked = bool(bad) and step >= ARMED_FROM
        withheld = Withheld.NON_FINITE if not math.isfinite(loss) else Withheld.LOSS if spiked else None
        if step in schedule.skipped_steps:
            withheld = Withheld.SKIPPED
        if step in self.transient_steps:  # a fault of the machine: the replay will not show it
            self.transient_steps.remove(step)
            self._struck.add(step)
            loss = self.transient_loss
            withheld = Withheld.LOSS if math.isfinite(loss) else Withheld.NON_FINITE
        rate = schedule.rate_change_at(step)
        return StepRecord(
            step=step,
            loss=loss,
            grad_norm=max((s.grad_norm for s in counted), default=0.0),
            lr=1e-3 * (rate.scale if rate else 1.0) * self.rate_factors.get(step, 1.0),
            clip_norm=schedule.clip_at(step) or 1.0,
            tokens=sum(sample.tokens for sample in samples),
            applied=withheld is None,
            withheld=withheld,
            seconds=0.01,
            samples=samples,
        )

    def _sample(self, name: str, noise: random.Random, masked: frozenset[str], nan: set[str]) -> SampleRecord:
        loss, norm = 3.0 + noise.gauss(0, 0.15), math.exp(noise.gauss(0, 0.1))
        if name in self.poison:
            loss, norm = loss + 8, norm * 30
        if name in nan:
            loss, norm = math.nan, math.nan
        return SampleRecord(
            sample_id=name, domain="chat", loss=loss, grad_norm=norm, tokens=0 if name in masked else 40
        )

    async def slow_down(self, window_id: str, step_s: float) -> int:
        """Have each step take so long, and return when the one under way has ended: which one begins now."""
        self.step_s = step_s
        before = len(self.jobs[window_id].progress)
        while len(self.jobs[window_id].progress) == before:
            await asyncio.sleep(0.01)
        return len(self.jobs[window_id].progress)

    def settle(self, run_id: str) -> None:
        """Forget what has ended of a run: whoever asks has it on record."""
        ended = [job_id for job_id, job in self.jobs.items() if job.status in ENDED and job_id.startswith(f"{run_id}:")]
        for job_id in ended:
            del self.jobs[job_id]

    async def work(self, kind: str, request: JobRequest[Any]) -> None:
        """Do a job, step by step."""
        spec = request.spec
        job_id = next(iter(spec.model_dump().values()))
        view = self.jobs[job_id]
        if kind == "windows":
            done: list[StepRecord] = []
            for step in range(spec.start_step, spec.start_step + spec.num_steps):
                if job_id in self.cancelled:
                    break
                if self.step_s:
                    await asyncio.sleep(self.step_s)
                done.append(self._step(step, spec.schedule, frozenset(), is_real=True))
                progress = tuple(record.model_copy(update={"samples": ()}) for record in done)
                self.show(kind, job_id, view.model_copy(update={"status": JobStatus.RUNNING, "progress": progress}))
            status = JobStatus.CANCELLED if len(done) < spec.num_steps else JobStatus.COMMITTED
            self.windows.append(job_id)
            result: Any = _window_result(spec, done)
        else:
            status, result = JobStatus.COMMITTED, self._answer(spec)
        self.show(kind, job_id, view.model_copy(update={"status": status, "result": result}))

    def _answer(self, spec: AnalysisSpec | EvaluationSpec | ExportJob) -> Any:
        if isinstance(spec, AnalysisSpec):
            replays = tuple(
                Replay(
                    name=variant.name,
                    masked_sample_ids=variant.masked_sample_ids,
                    steps=self._replayed(spec, variant),
                )
                for variant in spec.variants
            )
            newest = spec.start_step // WINDOW * WINDOW if spec.newest_checkpoint is None else spec.newest_checkpoint
            return AnalysisResult(
                analysis_id=spec.analysis_id, replays=replays, approach_steps=spec.start_step - newest, seconds=0.1
            )
        if isinstance(spec, EvaluationSpec):
            loss = self.held_out_loss.pop(0) if self.held_out_loss else 3.0 - 0.001 * spec.step
            return EvaluationResult(
                evaluation_id=spec.evaluation_id, step=spec.step, scores={"chat": DomainScore(loss=loss, tokens=100)}
            )
        return ExportResult(export_id=spec.export_id, adapter_path="/adapters/x" if spec.adapter else None)

    def _replayed(self, spec: AnalysisSpec, variant: ReplayVariant) -> tuple[StepRecord, ...]:
        masked = frozenset(variant.masked_sample_ids)
        records = [
            self._step(step, spec.schedule, masked, begins=spec.newest_checkpoint)
            for step in range(spec.start_step, spec.end_step)
        ]
        if not variant.unguarded:
            return tuple(records)
        lifted, lift = [], 0.0
        for record in records:
            lifted.append(_applied(record, lift))
            trained = {sample.sample_id for sample in record.samples if sample.tokens}
            lift += self.harm_nats * len(trained & self.poison - self.harmless)
        return tuple(lifted)


def _applied(record: StepRecord, lift: float) -> StepRecord:
    """The step as it is without a guard, all its losses lifted."""
    samples = tuple(sample.model_copy(update={"loss": sample.loss + lift}) for sample in record.samples)
    withheld = None if math.isfinite(record.loss) else record.withheld
    changes = {"loss": record.loss + lift, "samples": samples, "applied": withheld is None, "withheld": withheld}
    return record.model_copy(update=changes)


def _window_result(spec: WindowSpec, done: list[StepRecord]) -> WindowResult:
    end = spec.start_step + len(done)
    return WindowResult(
        window_id=spec.window_id,
        start_step=spec.start_step,
        end_step=end,
        metrics=MetricsWindow(window_id=spec.window_id, steps=tuple(done)),
        checkpoint=CheckpointRef(
            generation=spec.generation, step=end, uri=f"sim://{spec.generation}/{end}", manifest_digest="0" * 64
        ),
        state_digest="0" * 64,
    )


def _is_empty(view: JobView[Any]) -> bool:
    return view.status is JobStatus.CANCELLED and view.result.end_step == view.result.start_step


def _problem(status: int, code: str) -> Response:
    problem = Problem(title=code, status=status, code=code, detail=f"simulated {code}")
    return Response(problem.model_dump_json(), status_code=status, media_type="application/problem+json")


def simulated_app(worker: SimulatedWorker) -> FastAPI:
    """The worker's HTTP side."""
    app = FastAPI()
    shapes = {"windows": WindowSpec, "analyses": AnalysisSpec, "evaluations": EvaluationSpec, "exports": ExportJob}

    @app.get("/v1/worker")
    async def info() -> WorkerInfo:
        return WorkerInfo(
            worker_id=worker.worker_id,
            platform="cpu",
            devices=1,
            versions={},
            slots=worker.slots,
            run_ids=tuple(worker.runs),
            fences={run_id: worker.fences.get(run_id, 0) for run_id in worker.runs},
            root_id=worker.root_id,
        )

    @app.get("/v1/events")
    async def events(stream: str = "", after: int = 0, wait_s: float = 0, steps_wait_s: float = 1.0) -> Response:
        worker.event_polls += 1
        worker.hang_bell()
        await worker.changes.wait(stream, after, wait_s=wait_s, steps_wait_s=steps_wait_s)
        return Response(worker.changes.after(stream, after).model_dump_json(), media_type="application/json")

    @app.post("/v1/checks")
    async def check() -> Response:
        if worker.load_problem is not None:
            return Response(worker.load_problem.model_dump_json(), status_code=worker.load_problem.status)
        return Response(status_code=204)

    @app.post("/v1/previews")
    async def preview(request: PreviewRequest) -> Response:
        worker.preview_asked = request
        if worker.load_problem is not None:
            return Response(worker.load_problem.model_dump_json(), status_code=worker.load_problem.status)
        return Response(worker.preview.model_dump_json(), media_type="application/json")

    @app.put("/v1/runs/{run_id}")
    async def load(run_id: str, request: JobRequest[RunLoad]) -> Response:
        if request.fence_token < worker.fences.get(run_id, 0):
            return _problem(412, "stale_fence")
        if run_id not in worker.runs and len(worker.runs) >= worker.slots:
            return _problem(409, "no_free_slot")
        worker.fences[run_id] = request.fence_token
        worker.runs[run_id] = worker.last_load = request
        worker.most_runs = max(worker.most_runs, len(worker.runs))
        loaded = LoadedRun(
            run_id=run_id,
            status=LoadStatus.READY,
            spec_hash=request.spec_hash,
            domains={"chat": DomainSize(rows=ROWS, skipped=0)},
        )
        return Response(loaded.model_dump_json(), media_type="application/json")

    @app.get("/v1/runs/{run_id}/checkpoints")
    async def checkpoints(run_id: str, verify: bool = False) -> Response:
        if run_id not in worker.checkpoints:
            return _problem(404, "run_unknown")
        found = worker.checkpoints[run_id]
        seen = found if verify else tuple(one.model_copy(update={"verified": None, "damage": None}) for one in found)
        return Response(Checkpoints(checkpoints=seen).model_dump_json(), media_type="application/json")

    @app.delete("/v1/runs/{run_id}")
    async def release(run_id: str, fence_token: int) -> Response:
        if fence_token < worker.fences.get(run_id, 0):
            return _problem(412, "stale_fence")
        worker.fences[run_id] = fence_token
        worker.runs.pop(run_id, None)
        return Response(status_code=204)

    @app.get("/v1/runs/{run_id}/samples")
    async def samples(run_id: str, request: Request) -> Response:
        if worker.reports is None:
            return _problem(404, "run_unknown")
        if isinstance(worker.reports, Problem):
            return Response(worker.reports.model_dump_json(), status_code=worker.reports.status)
        worker.sample_queries.append(dict(request.query_params))
        form = ReportFormat(request.query_params["format"])
        return Response(worker.reports[form], media_type=form.media_type)

    @app.put("/v1/{kind}/{job_id}")
    async def put(kind: str, job_id: str, request: Request) -> Response:
        asked = JobRequest[shapes[kind]].model_validate_json(await request.body())  # type: ignore[valid-type]
        if asked.fence_token < worker.fences.get(asked.spec.run_id, 0):
            return _problem(412, "stale_fence")
        if asked.spec.run_id not in worker.runs:
            return _problem(409, "run_not_loaded")
        known = worker.jobs.get(job_id)
        if known is not None and known.spec_hash != asked.spec_hash:
            return _problem(409, "spec_conflict")
        if known is None or known.status is JobStatus.FAILED or _is_empty(known):
            if asked.settles:
                worker.settle(asked.spec.run_id)
            worker.jobs[job_id] = JobView(job_id=job_id, spec_hash=asked.spec_hash, status=JobStatus.ACCEPTED)
            task = asyncio.create_task(worker.work(kind, asked))
            worker._tasks.add(task)
            task.add_done_callback(worker._tasks.discard)
        return Response(worker.jobs[job_id].model_dump_json(), media_type="application/json")

    @app.get("/v1/{kind}/{job_id}")
    async def get(kind: str, job_id: str, wait_s: float = 0, after_step: int = -1) -> Response:
        if worker.next_answers:
            return worker.next_answers.pop(0)
        for _ in range(max(1, int(wait_s / 0.005))):
            view = worker.jobs.get(job_id)
            if view is None:
                return _problem(404, "job_not_found")
            last = view.progress[-1].step if view.progress else -1
            if view.status in {JobStatus.COMMITTED, JobStatus.CANCELLED, JobStatus.FAILED} or last > after_step:
                break
            await asyncio.sleep(0.005)
        return Response(view.model_dump_json(), media_type="application/json")

    @app.post("/v1/windows/{job_id}/cancel")
    async def cancel(job_id: str, fence_token: int) -> Response:
        if fence_token < worker.fences.get(job_id.split(":")[0], 0):
            return _problem(412, "stale_fence")
        worker.cancelled.add(job_id)
        return Response(status_code=202)

    return app
