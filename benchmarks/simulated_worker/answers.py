"""Answers of the simulated worker, as JSON; what repeats is written once, so that a thousand runs cost it little."""

import json
from typing import Any

from aft_contracts import AnalysisResult, DomainScore, EvaluationResult, ExportResult, Replay
from benchmarks.simulated_worker.records import ROWS, progress_json, step_record, steps_json
from benchmarks.simulated_worker.worker import Job, SimulatedWorker

DIGEST = "0" * 64
STREAM = "the-only-one"


def info_json(worker: SimulatedWorker) -> bytes:
    """`GET /v1/worker`."""
    said = {"worker_id": "simulated", "platform": "cpu", "devices": 1, "versions": {}, "slots": 100_000}
    return json.dumps({**said, "run_ids": list(worker.runs)}).encode()


def loaded_json(run_id: str, spec_hash: str) -> bytes:
    """A run that is ready."""
    domains = {"chat": {"rows": ROWS, "skipped": 0}}
    return json.dumps({"run_id": run_id, "status": "ready", "spec_hash": spec_hash, "domains": domains}).encode()


def problem_json(status: int, code: str, detail: str) -> bytes:
    """An error."""
    return json.dumps({"title": code, "status": status, "code": code, "detail": detail}).encode()


def job_json(job: Job, now_s: float) -> bytes:
    """Where a job stands."""
    if job.kind != "windows":
        return _view(job, "committed", result=_result_json(job))
    done = job.steps_done(now_s)
    end = job.start_step + done
    progress = progress_json(job.start_step, end, bad_row=job.bad_row)
    if job.ended:
        return _view(job, job.status(), step=end, progress=progress, result=_window_json(job, end))
    return _view(job, job.status(), step=end if done else None, progress=progress)


def changes_json(worker: SimulatedWorker, stream: str, after: int) -> bytes:
    """Every job that has changed behind a place in the stream."""
    is_ours = stream == STREAM
    turned, stepped = worker.changed_since(after) if is_ours else ([], [])
    changes = [_change(job, is_turn=True) for job in turned] + [_change(job, is_turn=False) for job in stepped]
    return json.dumps({"stream": STREAM, "seq": worker.seq, "is_complete": is_ours, "changes": changes}).encode()


def _change(job: Job, *, is_turn: bool) -> dict[str, Any]:
    return {"kind": job.kind, "job_id": job.job_id, "status": job.status(), "is_turn": is_turn}


def _view(job: Job, status: str, *, step: int | None = None, progress: bytes = b"[]", result: bytes = b"null") -> bytes:
    head = json.dumps({"job_id": job.job_id, "spec_hash": job.spec_hash, "status": status, "step": step})
    return head[:-1].encode() + b',"progress":' + progress + b',"result":' + result + b"}"


def _window_json(job: Job, end_step: int) -> bytes:
    generation = job.spec["generation"]
    uri = f"file:///runs/{job.run_id}/checkpoints/{generation}/{end_step}"
    head = json.dumps(
        {
            "window_id": job.job_id,
            "start_step": job.start_step,
            "end_step": end_step,
            "checkpoint": {"generation": generation, "step": end_step, "uri": uri, "manifest_digest": DIGEST},
            "state_digest": DIGEST,
        }
    )
    metrics = json.dumps({"window_id": job.job_id})[:-1].encode()
    steps = steps_json(job.start_step, end_step, bad_row=job.bad_row)
    return head[:-1].encode() + b',"metrics":' + metrics + b',"steps":' + steps + b"}}"


def _result_json(job: Job) -> bytes:
    match job.kind:
        case "evaluations":
            scores = {"chat": DomainScore(loss=3.0, tokens=4096)}
            evaluated = EvaluationResult(evaluation_id=job.job_id, step=job.spec["step"], scores=scores)
            return evaluated.model_dump_json().encode()
        case "exports":
            return ExportResult(export_id=job.job_id, adapter_path="/adapters/x").model_dump_json().encode()
        case _:
            replays = tuple(_replay(job, variant) for variant in job.spec["variants"])
            analysis = AnalysisResult(analysis_id=job.job_id, replays=replays, seconds=0.1)
            return analysis.model_dump_json().encode()


def _replay(job: Job, variant: dict[str, Any]) -> Replay:
    masked = frozenset(variant["masked_sample_ids"])
    steps = range(job.spec["start_step"], job.spec["end_step"])
    return Replay(
        name=variant["name"],
        masked_sample_ids=tuple(masked),
        steps=tuple(step_record(step, bad_row=job.bad_row, masked=masked) for step in steps),
    )
