"""forensic: asks the worker for evidence and writes the diagnosis."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from langgraph.runtime import Runtime

from aft_api.healing.diagnose import Conclusion, charges, combine, conclude, look_back, tried_groups, unreplayed, unseen
from aft_api.healing.harm import FEWEST_IN_A_TRIAL, Harm, plan_trial, weigh
from aft_api.healing.incident import Incident
from aft_api.healing.planner import SPAN_STEPS
from aft_api.healing.rate_jump import find_rate_jump
from aft_api.healing.replay import (
    base_of,
    clusters,
    plan_bisection,
    plan_look_back,
    plan_replay,
    within_budget,
)
from aft_api.healing.scores import conclude_scores
from aft_api.healing.suspects import find_suspects
from aft_api.runs.diagnoses import add_diagnosis, diagnosis_id_of, get_diagnosis, replayed_steps
from aft_api.runs.evaluations import lineage_evaluations
from aft_api.runs.events import record
from aft_api.supervisor.alarms import MOST_ANOMALIES
from aft_api.supervisor.evidence import Evidence, checkpoints_before, gather
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
    RepairPolicy,
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
    checkpoints = await checkpoints_before(ports, evidence.window)
    bad_steps = [anomaly.step for anomaly in anomalies]
    async with ports.store.reads() as session:
        spent = await replayed_steps(session, evidence.window.run_id, since_step=min(bad_steps) - SPAN_STEPS)
    policy = within_budget(evidence.spec.repair, spent)
    found = clusters(anomalies, policy)
    explained = [
        await _explain(
            ports, f"{diagnosis_id}:replay:{number}", evidence, checkpoints, _incident(evidence, cluster, suspects),
            policy,
        )
        for number, cluster in enumerate(found[: policy.max_clusters])
    ]  # fmt: skip
    results = [result for one in explained for result in one.results]
    left = [anomaly for cluster in found[policy.max_clusters :] for anomaly in cluster]
    conclusion = unreplayed(combine([one.conclusion for one in explained]), left)
    jump = find_rate_jump(
        _past(evidence), min(bad_steps), evidence.plan, evidence.spec.detection, until_step=max(bad_steps)
    )
    return DiagnosisReport(
        diagnosis_id=diagnosis_id,
        run_id=evidence.window.run_id,
        window_id=evidence.window.window_id,
        created_at=ports.clock(),
        anomalies=anomalies,
        suspects=suspects,
        verdict=conclusion.verdict,
        culprits=conclusion.culprits,
        unproven=conclusion.unproven,
        sound_step=conclusion.sound_step,
        rate_jump=jump.factor if jump else None,
        rate_jump_step=jump.step if jump else None,
        is_rate_jump_recorded=jump.is_recorded if jump else None,
        reasons=(*conclusion.reasons, *_limits(anomalies, spent, policy)),
        replays=tuple(replay for result in results for replay in result.replays),
        replay_steps=sum(_steps_trained(result) for result in results),
        replay_seconds=sum(result.seconds for result in results),
    )


def _limits(anomalies: tuple[Anomaly, ...], spent: int, policy: RepairPolicy) -> tuple[str, ...]:
    """What the report leaves out, and why."""
    told = []
    if len(anomalies) == MOST_ANOMALIES:
        told.append(f"At most {MOST_ANOMALIES} anomalies of a window are explained, the first ones.")
    if spent >= policy.max_replayed_steps_per_1000:
        told.append(
            f"Replays have trained {spent} steps within the last {SPAN_STEPS}, and max_replayed_steps_per_1000 is "
            f"{policy.max_replayed_steps_per_1000}: none was made that the verdict could do without."
        )
    return tuple(told)


async def _diagnose_scores(
    ports: Ports, diagnosis_id: str, evidence: Evidence, anomalies: tuple[Anomaly, ...]
) -> DiagnosisReport:
    """No step gave it away, so no step is replayed for itself: the last window is trained again, and scored."""
    started, window, step = ports.clock(), evidence.window, anomalies[0].step
    base = max(await checkpoints_before(ports, window), default=0)
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
    """All steps known before a replayed one; an `Incident` takes those that lie before each replay."""
    return (*evidence.history, *evidence.steps)


def _incident(evidence: Evidence, cluster: tuple[Anomaly, ...], suspects: tuple[Suspect, ...]) -> Incident:
    return Incident(
        anomalies=cluster,
        suspects=suspects,
        history=_past(evidence),
        spec=evidence.spec.detection,
        armed_from=evidence.armed_from,
        plan=evidence.plan,
    )


def _steps_trained(result: AnalysisResult) -> int:
    return result.approach_steps + sum(len(replay.steps) for replay in result.replays)


@dataclass(frozen=True, kw_only=True)
class _Explained:
    """What the replays of one cluster showed, and what they cost."""

    conclusion: Conclusion
    results: tuple[AnalysisResult, ...] = ()


async def _explain(
    ports: Ports,
    analysis_id: str,
    evidence: Evidence,
    checkpoints: Sequence[int],
    incident: Incident,
    policy: RepairPolicy,
) -> _Explained:
    """What was wrong, proven by replays; where it is no passing fault, from an older checkpoint too.

    Rows that turn it clean are no proof against them: a damaged weight may overflow with some rows and not with others.
    """
    window = evidence.window
    asked = plan_replay(
        analysis_id, window.run_id, window.schedule, incident.anomalies, incident.suspects, policy,
        window_start=window.start_step,
    )  # fmt: skip
    first = await _replayed(ports, asked)
    if isinstance(first, str):
        reason = f"The replay failed: {first}"
        return _Explained(conclusion=Conclusion(verdict=Verdict.UNKNOWN, culprits=(), reasons=(reason,)))
    results = await _bisected(ports, asked, first, incident, policy)
    harms, trials = await _tried(ports, asked, results, incident, policy)
    conclusion = conclude(incident, _replays(results), harms=harms, base=base_of(asked, checkpoints))
    results = (*results, *trials)
    further = plan_look_back(asked, checkpoints) if conclusion.may_be_the_state else None
    if further is None:
        return _Explained(conclusion=conclusion, results=results)
    older = await _replayed(ports, further)
    if isinstance(older, str):
        return _Explained(conclusion=unseen(conclusion, older), results=results)
    base = base_of(further, checkpoints)
    return _Explained(
        conclusion=look_back(conclusion, incident, _replays(results), older.replays[0], base=base),
        results=(*results, older),
    )


async def _bisected(
    ports: Ports, asked: AnalysisSpec, first: AnalysisResult, incident: Incident, policy: RepairPolicy
) -> tuple[AnalysisResult, ...]:
    """The first replays, and those that tell many suspects apart; enough are left for a trial of who is left."""
    results: tuple[AnalysisResult, ...] = (first,)
    for round_number in count(1):
        replays = _replays(results)
        tried = tried_groups(incident, replays)
        left = policy.max_replays - len(replays) - FEWEST_IN_A_TRIAL
        further = plan_bisection(asked, tried.values(), round_number=round_number, replays_left=left)
        result = None if further is None else await _replayed(ports, further)
        if not isinstance(result, AnalysisResult):
            break
        results = (*results, result)
    return results


async def _tried(
    ports: Ports, asked: AnalysisSpec, results: tuple[AnalysisResult, ...], incident: Incident, policy: RepairPolicy
) -> tuple[tuple[Harm, ...], tuple[AnalysisResult, ...]]:
    """What those who caused the alarm do to later rows, and the replays that measured it; nothing for nobody."""
    replays = _replays(results)
    trial = plan_trial(
        asked, charges(incident, replays), replays, policy, replays_left=policy.max_replays - len(replays)
    )
    result = None if trial is None else await _replayed(ports, trial.asked)
    if trial is None or not isinstance(result, AnalysisResult):
        return (), ()
    return weigh(trial, result.replays, policy), (result,)


def _replays(results: Iterable[AnalysisResult]) -> tuple[Replay, ...]:
    return tuple(replay for result in results for replay in result.replays)


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
