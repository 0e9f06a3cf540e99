"""forensic: asks the worker for evidence and writes the diagnosis."""

from dataclasses import dataclass
from itertools import count

from langgraph.runtime import Runtime

from aft_api.healing.diagnose import Conclusion, combine, conclude, look_back, tried_groups
from aft_api.healing.rate_jump import RatePlan, find_rate_jump
from aft_api.healing.replay import base_of, clusters, plan_bisection, plan_look_back, plan_replay
from aft_api.healing.scores import conclude_scores
from aft_api.healing.suspects import find_suspects
from aft_api.runs.diagnoses import add_diagnosis, diagnosis_id_of, get_diagnosis
from aft_api.runs.evaluations import lineage_evaluations
from aft_api.runs.events import record
from aft_api.supervisor.evidence import Evidence, gather
from aft_api.supervisor.jobs import JobFailed, patient_job
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.scoring import score_again
from aft_contracts import (
    AnalysisResult,
    AnalysisSpec,
    Anomaly,
    AnomalyKind,
    DiagnosisReport,
    EventKind,
    Replay,
    State,
    StepRecord,
    Suspect,
    Verdict,
)


async def forensic(state: State, runtime: Runtime[Ports]) -> State:
    """The id of the diagnosis of the last window."""
    ports = runtime.context
    diagnosis_id = diagnosis_id_of(state["window_id"])
    async with ports.store.reads() as session:
        if await get_diagnosis(session, diagnosis_id) is not None:
            return State(diagnosis_id=diagnosis_id)
    anomalies = tuple(Anomaly.model_validate(anomaly) for anomaly in state["verdict"]["anomalies"])
    evidence = await gather(ports, state)
    is_scored = anomalies[0].kind is AnomalyKind.EVALUATION_DROP  # found where every step was healthy, so all are
    diagnose = _diagnose_scores if is_scored else _diagnose
    report = await diagnose(ports, diagnosis_id, evidence, anomalies)
    await _write(ports, report)
    return State(diagnosis_id=diagnosis_id)


async def _diagnose(
    ports: Ports, diagnosis_id: str, evidence: Evidence, anomalies: tuple[Anomaly, ...]
) -> DiagnosisReport:
    suspects = find_suspects(anomalies, evidence.steps, evidence.history, evidence.spec.detection)
    conclusions: list[Conclusion] = []
    replays: list[Replay] = []
    seconds = 0.0
    for number, cluster in enumerate(clusters(anomalies, evidence.spec.repair)[: evidence.spec.repair.max_clusters]):
        replayed = await _explain(ports, f"{diagnosis_id}:replay:{number}", evidence, cluster, suspects)
        if isinstance(replayed, str):
            reason = f"The replay failed: {replayed}"
            conclusions.append(Conclusion(verdict=Verdict.UNKNOWN, culprits=(), reasons=(reason,)))
            continue
        conclusions.append(replayed.conclusion)
        replays += replayed.replays
        seconds += replayed.seconds
    conclusion = combine(conclusions)
    first_bad_step = min(anomaly.step for anomaly in anomalies)
    plan = RatePlan(optim=evidence.spec.optim, schedule=evidence.schedule)
    jump = find_rate_jump(_past(evidence), first_bad_step, plan, evidence.spec.detection)
    return DiagnosisReport(
        diagnosis_id=diagnosis_id,
        run_id=evidence.window.run_id,
        window_id=evidence.window.window_id,
        created_at=ports.clock(),
        anomalies=anomalies,
        suspects=suspects,
        verdict=conclusion.verdict,
        culprits=conclusion.culprits,
        sound_step=conclusion.sound_step,
        rate_jump=jump.factor if jump else None,
        rate_jump_step=jump.step if jump else None,
        reasons=conclusion.reasons,
        replays=tuple(replays),
        replay_steps=sum(len(replay.steps) for replay in replays),
        replay_seconds=seconds,
    )


async def _diagnose_scores(
    ports: Ports, diagnosis_id: str, evidence: Evidence, anomalies: tuple[Anomaly, ...]
) -> DiagnosisReport:
    """No step gave it away, so no step is replayed for itself: the last window is trained again, and scored."""
    started, window, step = ports.clock(), evidence.window, anomalies[0].step
    base = max(evidence.checkpoint_steps, default=0)
    async with ports.store.reads() as session:
        evaluations = await lineage_evaluations(session, window.run_id, window.schedule, step=step)
    again = await score_again(ports, window.run_id, window.schedule, step=step, newest_checkpoint=base)
    conclusion = conclude_scores(
        anomalies, evaluations, again, evidence.spec.detection,
        base=base, armed_from=window.schedule.armed_from(step),
    )  # fmt: skip
    return DiagnosisReport(
        diagnosis_id=diagnosis_id,
        run_id=window.run_id,
        window_id=window.window_id,
        created_at=ports.clock(),
        anomalies=anomalies,
        suspects=(),
        verdict=conclusion.verdict,
        sound_step=conclusion.sound_step,
        reasons=conclusion.reasons,
        replay_steps=0 if again is None else step - base,
        replay_seconds=max(0.0, (ports.clock() - started).total_seconds()),
    )


def _past(evidence: Evidence) -> tuple[StepRecord, ...]:
    """All steps known before a replayed one; `conclude` takes those that lie before each replay."""
    return (*evidence.history, *evidence.steps)


@dataclass(frozen=True, kw_only=True)
class _Explained:
    """What the replays of one cluster showed."""

    conclusion: Conclusion
    replays: tuple[Replay, ...]
    seconds: float


async def _explain(
    ports: Ports,
    analysis_id: str,
    evidence: Evidence,
    cluster: tuple[Anomaly, ...],
    suspects: tuple[Suspect, ...],
) -> _Explained | str:
    """What was wrong, or in words why no replay says so; a bad course is looked at from an older checkpoint too."""
    window, checkpoints, past = evidence.window, evidence.checkpoint_steps, _past(evidence)
    asked = plan_replay(
        analysis_id, window.run_id, window.schedule, cluster, suspects, evidence.spec.repair,
        window_start=window.start_step,
    )  # fmt: skip
    result = await _replayed(ports, asked)
    if isinstance(result, str):
        return result
    spec = evidence.spec.detection
    replays, seconds = await _bisected(ports, asked, result, evidence, cluster, suspects)
    conclusion = conclude(cluster, suspects, replays, past, spec, base=base_of(asked, checkpoints))
    explained = _Explained(conclusion=conclusion, replays=replays, seconds=seconds)
    further = plan_look_back(asked, checkpoints) if conclusion.verdict is Verdict.OPTIMISATION else None
    if further is None:
        return explained
    older = await _replayed(ports, further)
    if isinstance(older, str):
        return explained
    return _Explained(
        conclusion=look_back(conclusion, cluster, older.replays[0], past, spec, base=base_of(further, checkpoints)),
        replays=(*result.replays, *older.replays),
        seconds=result.seconds + older.seconds,
    )


async def _bisected(
    ports: Ports,
    asked: AnalysisSpec,
    first: AnalysisResult,
    evidence: Evidence,
    cluster: tuple[Anomaly, ...],
    suspects: tuple[Suspect, ...],
) -> tuple[tuple[Replay, ...], float]:
    """All replays, and their seconds: the first ones, and those that tell many suspects apart."""
    replays, seconds = first.replays, first.seconds
    for round_number in count(1):
        tried = tried_groups(cluster, suspects, replays, _past(evidence), evidence.spec.detection)
        left = evidence.spec.repair.max_replays - len(replays)
        further = plan_bisection(asked, tried.values(), round_number=round_number, replays_left=left)
        result = None if further is None else await _replayed(ports, further)
        if not isinstance(result, AnalysisResult):
            break
        replays, seconds = (*replays, *result.replays), seconds + result.seconds
    return replays, seconds


async def _replayed(ports: Ports, asked: AnalysisSpec) -> AnalysisResult | str:
    """The replays, or in words why there are none."""
    try:
        result = await patient_job(ports, asked.run_id, "analyses", asked.analysis_id, asked)
    except JobFailed as failure:
        return failure.problem.detail
    assert isinstance(result, AnalysisResult), "another result is judged a misfit"
    return result


async def _write(ports: Ports, report: DiagnosisReport) -> None:
    async with ports.store.sessions.begin() as session:
        await add_diagnosis(session, report, ports.clock)
        named = f" Culprits: {', '.join(report.culprits)}." if report.culprits else ""
        await record(
            session, report.run_id, EventKind.DIAGNOSED, f"Verdict {report.verdict}: {' '.join(report.reasons)}{named}",
            key=report.diagnosis_id, clock=ports.clock, step=report.anomalies[0].step,
            diagnosis_id=report.diagnosis_id, verdict=report.verdict, culprits=list(report.culprits),
        )  # fmt: skip
