"""Evidence: what is known about the last window, as the pure healing functions want it."""

from dataclasses import dataclass

from aft_api.runs.repository import get_run
from aft_api.runs.windows import get_window, lineage_steps
from aft_api.supervisor.ports import Ports
from aft_contracts import RunSpec, Schedule, State, StepRecord, WindowResult, WindowSpec


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The last window's steps, and the clean past they are judged against."""

    spec: RunSpec
    window: WindowSpec
    steps: tuple[StepRecord, ...]
    history: tuple[StepRecord, ...]

    @property
    def schedule(self) -> Schedule:
        """The course under which the window was trained."""
        return self.window.schedule

    @property
    def armed_from(self) -> int:
        """The last change that moved what is normal: detectors warm up again from there."""
        steps = [change.step for change in self.schedule.rates] + [change.step for change in self.schedule.mix]
        return max((step for step in steps if step <= self.window.start_step), default=0)


async def gather(ports: Ports, state: State) -> Evidence:
    """The evidence on the last window."""
    async with ports.store.reads() as session:
        spec = RunSpec.model_validate((await get_run(session, state["run_id"])).spec)
        row = await get_window(session, state["window_id"])
        assert row is not None, "the loop only stands at windows that were committed"
        window = WindowSpec.model_validate(row.spec)
        history = await lineage_steps(
            session,
            state["run_id"],
            window.schedule,
            before_step=window.start_step,
            at_least=spec.detection.history_steps + spec.detection.cusum_lag,
        )
    return Evidence(
        spec=spec,
        window=window,
        steps=WindowResult.model_validate(row.result).metrics.steps,
        history=tuple(history),
    )
