"""monitor: judges the last window."""

from langgraph.runtime import Runtime

from aft_api.healing.detect import judge
from aft_api.runs.events import record
from aft_api.supervisor.evidence import gather
from aft_api.supervisor.ports import Ports
from aft_contracts import Anomaly, EventKind, State

MOST_ANOMALIES = 16
"""Anomalies that the loop's state carries; more say nothing new, and the state stays small."""


async def monitor(state: State, runtime: Runtime[Ports]) -> State:
    """The verdict on the last window: healthy, or which steps were not."""
    ports = runtime.context
    if not state.get("window_id"):
        return State(verdict={"healthy": True, "anomalies": []})
    evidence = await gather(ports, state)
    found = judge(evidence.steps, evidence.history, evidence.spec.detection, armed_from=evidence.armed_from)
    if found:
        await _record(ports, state, found)
    kept = sorted(found, key=lambda anomaly: anomaly.step)[:MOST_ANOMALIES]
    return State(
        verdict={"healthy": not found, "anomalies": [anomaly.model_dump(mode="json") for anomaly in kept]},
    )


async def _record(ports: Ports, state: State, found: tuple[Anomaly, ...]) -> None:
    async with ports.store.sessions.begin() as session:
        for anomaly in found:
            await record(
                session, state["run_id"], EventKind.ANOMALY_DETECTED, _in_words(anomaly),
                key=f"{state['window_id']}:{anomaly.step}:{anomaly.kind}", clock=ports.clock, step=anomaly.step,
                anomaly=anomaly.model_dump(mode="json"),
            )  # fmt: skip


def _in_words(anomaly: Anomaly) -> str:
    out = f"{anomaly.score:.1f} robust standard deviations out"
    if anomaly.applied:
        return f"{anomaly.kind} at step {anomaly.step}: {out}, over {anomaly.threshold:g}; its update was applied."
    return f"{anomaly.kind} at step {anomaly.step}: {out}; the guard withheld its update."
