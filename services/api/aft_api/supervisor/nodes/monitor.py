"""monitor: judges the last window."""

from langgraph.runtime import Runtime

from aft_api.healing.detect import judge
from aft_api.healing.suspects import without_known
from aft_api.runs.diagnoses import unproven_samples
from aft_api.supervisor.alarms import raise_alarms
from aft_api.supervisor.evidence import gather
from aft_api.supervisor.ports import Ports
from aft_api.supervisor.probation import pass_probations
from aft_contracts import State


async def monitor(state: State, runtime: Runtime[Ports]) -> State:
    """The verdict on the last window: healthy, or which steps were not."""
    ports = runtime.context
    if not state.get("window_id"):
        return State(verdict={"healthy": True, "anomalies": []})
    evidence = await gather(ports, state)
    found = judge(
        evidence.steps,
        evidence.history,
        evidence.spec.detection,
        armed_from=evidence.armed_from,
        plan=evidence.plan,
    )
    if found:
        async with ports.store.reads() as session:
            known = await unproven_samples(session, state["run_id"])
        found = without_known(found, evidence.steps, evidence.history, evidence.spec.detection, known)
    verdict = await raise_alarms(ports, state, found)
    if found or not state.get("on_probation"):
        return verdict
    return State(**verdict, on_probation=await pass_probations(ports, state["run_id"], evidence, step=state["step"]))
