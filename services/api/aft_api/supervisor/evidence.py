"""Evidence: what is known about the last window, as the pure healing functions want it."""

from dataclasses import dataclass

from aft_api.healing.rate_jump import RatePlan
from aft_api.runs.windows import checkpoint_steps, lineage_steps
from aft_api.supervisor.ports import Ports
from aft_contracts import RunSpec, Schedule, State, StepRecord, WindowSpec


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
        """The last change that moved what is normal: detectors warm up again from there, for all of the window."""
        return self.schedule.armed_from(self.steps[-1].step if self.steps else self.window.start_step)

    @property
    def plan(self) -> RatePlan:
        """What the learning rate was to be."""
        return RatePlan(optim=self.spec.optim, schedule=self.schedule)


async def gather(ports: Ports, state: State) -> Evidence:
    """The evidence on the last window.

    Older steps of its past are without their samples, which rows are measured against only where so many of the later
    steps were withheld or anomalous.
    """
    spec = await ports.spec(state["run_id"])
    window = await ports.window(state["window_id"])
    async with ports.store.reads() as session:
        past = spec.detection.history_steps + spec.detection.cusum_lag
        steps = await lineage_steps(
            session,
            state["run_id"],
            window.schedule,
            before_step=state["step"],
            at_least=past + state["step"] - window.start_step,
            samples_from=window.start_step - max(spec.detection.history_steps, spec.detection.stall_steps),
        )
    return Evidence(
        spec=spec,
        window=window,
        steps=tuple(step for step in steps if step.step >= window.start_step),
        history=tuple(step for step in steps if step.step < window.start_step),
    )


async def checkpoints_before(ports: Ports, window: WindowSpec) -> tuple[int, ...]:
    """Steps of the committed checkpoints up to the window's start, oldest first."""
    async with ports.store.reads() as session:
        return tuple(await checkpoint_steps(session, window.run_id, window.schedule, window.start_step))
