"""Alarms: anomalies as events and as the loop's verdict."""

from collections.abc import Collection

from aft_api.runs.events import record
from aft_api.supervisor.ports import Ports
from aft_contracts import Anomaly, AnomalyKind, EventKind, State

MOST_ANOMALIES = 16
"""Anomalies that the loop's state carries; more say nothing new, and the state stays small."""


async def raise_alarms(ports: Ports, state: State, found: Collection[Anomaly]) -> State:
    """The verdict that `found` makes, each of them recorded; healthy where there is none."""
    if found:
        async with ports.store.sessions.begin() as session:
            for anomaly in found:
                await record(
                    session, state["run_id"], EventKind.ANOMALY_DETECTED, in_words(anomaly),
                    key=f"{state['window_id']}:{anomaly.step}:{anomaly.kind}:{anomaly.domain or ''}".rstrip(":"),
                    clock=ports.clock, step=anomaly.step, anomaly=anomaly.model_dump(mode="json"),
                )  # fmt: skip
    kept = sorted(found, key=lambda anomaly: anomaly.step)[:MOST_ANOMALIES]
    return State(verdict={"healthy": not found, "anomalies": [anomaly.model_dump(mode="json") for anomaly in kept]})


def in_words(anomaly: Anomaly) -> str:
    """What was found at which step, how far out it is, and whether the update was applied."""
    at = f"{anomaly.kind} at step {anomaly.step}"
    if anomaly.kind is AnomalyKind.STALL:
        return f"{at}: nothing was learned in {anomaly.score:g} steps in a row."
    if anomaly.kind is AnomalyKind.RATE_JUMP:
        seen = "by its record or by how far it moved the weights"
        return f"{at}: the step's learning rate was {anomaly.score:.3g} times as high as planned, {seen}."
    out = f"{anomaly.score:.1f} robust standard deviations out"
    if anomaly.kind is AnomalyKind.EVALUATION_DROP:
        return f"{at}: the held-out loss of {anomaly.domain} rose to {anomaly.value:.3f}, {out}."
    if anomaly.kind is AnomalyKind.OPPOSED_ROWS:
        out = f"losses rose through the whole batch while gradients fell, {out}"
    if anomaly.kind is AnomalyKind.REPETITION:
        worst, *others = anomaly.sample_ids
        also = f" (also named: {', '.join(others)})" if others else ""
        out = f"{anomaly.value:.0%} of {worst} says what it has said before{also}, and its gradient is {out}"
    if anomaly.applied:
        return f"{at}: {out}, over {anomaly.threshold:g}; its update was applied."
    return f"{at}: {out}; the guard withheld its update."
