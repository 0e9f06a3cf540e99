"""Plans the next window: folds in what humans asked for and writes the intent, in one transaction."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from aft_api.clock import Clock
from aft_api.errors import AftError
from aft_api.healing.course import apply_command, apply_repair
from aft_api.healing.probation import probation_ends
from aft_api.reviews.answer import Answering, agreed_repair
from aft_api.reviews.repository import get_review
from aft_api.runs.commands import pending_commands, settle_command
from aft_api.runs.diagnoses import choose_repair, get_diagnosis
from aft_api.runs.schedules import add_schedule
from aft_api.runs.standing import read_standing
from aft_api.runs.windows import get_window, intend_window
from aft_contracts import (
    Approve,
    CommandRecord,
    JobStatus,
    Pause,
    Reject,
    Repair,
    Respond,
    Resume,
    RunSpec,
    Schedule,
    State,
    Stop,
    WindowResult,
    WindowSpec,
    window_id_of,
)

_UNCHANGED = "goes on unchanged from step {step}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the run trains next."""

    generation: int
    step: int
    index: int

    def window_id(self, run_id: str) -> str:
        """The id of the window that begins here."""
        return window_id_of(run_id, self.generation, self.index)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The next window, and what came of it if it was trained already."""

    window: WindowSpec
    result: WindowResult | None = None
    attempts: int = 0
    """Attempts at it that have failed."""
    has_begun: bool = False
    """Whether a worker has shown that it trains it."""


def place_of(state: State, schedule: Schedule) -> Place:
    """Where the loop stands, or the branch point when the schedule was rolled back since."""
    index, generation, step = state.get("window_index", 0), state.get("generation", 0), state.get("step", 0)
    if schedule.generation > generation:
        return Place(generation=schedule.generation, step=schedule.branches[-1].step, index=index)
    return Place(generation=generation, step=step, index=index)


async def plan_window(session: AsyncSession, run_id: str, spec: RunSpec, state: State, clock: Clock) -> Planned | Place:
    """The next window, its intent written; or, when no step is left, the place where the run stands.

    Called again after a crash it gives the same window: the intent, once written, is not reconsidered.
    """
    stands = await read_standing(
        session, run_id, generation=state.get("generation", 0), index=state.get("window_index", 0)
    )
    schedule = stands.schedule
    intended = await get_window(session, place_of(state, schedule).window_id(run_id)) if stands.is_intended else None
    if intended is not None:
        if stands.is_told:
            await _settle_go_ons(session, run_id, step=intended.start_step, clock=clock)
        is_committed = intended.status == JobStatus.COMMITTED
        return Planned(
            window=WindowSpec.model_validate(intended.spec),
            result=WindowResult.model_validate(intended.result) if is_committed else None,
            attempts=intended.attempts,
            has_begun=intended.status in (JobStatus.RUNNING, JobStatus.TRAINED),
        )
    if stands.is_told:
        schedule = await _carry_out_commands(session, run_id, spec, state, schedule, clock)
    place = place_of(state, schedule)
    left = spec.optim.steps - place.step
    if left <= 0:
        return place
    window = WindowSpec(
        window_id=place.window_id(run_id),
        run_id=run_id,
        generation=place.generation,
        index=place.index,
        start_step=place.step,
        num_steps=min(spec.window.steps, left),
        schedule=schedule,
    )
    await intend_window(session, window, clock)
    return Planned(window=window)


async def _settle_go_ons(session: AsyncSession, run_id: str, *, step: int, clock: Clock) -> None:
    """Carry out the answers that change nothing, so that the window which was asked about is not ended for them."""
    for record in await pending_commands(session, run_id):
        if isinstance(record.command, Approve | Reject | Respond | Resume) and record.command.review_id is not None:
            review = await get_review(session, record.command.review_id)
            if agreed_repair(review) is None:
                await settle_command(session, record, _UNCHANGED.format(step=step), step=step, clock=clock)


async def _carry_out_commands(
    session: AsyncSession, run_id: str, spec: RunSpec, state: State, schedule: Schedule, clock: Clock
) -> Schedule:
    for record in await pending_commands(session, run_id):
        if isinstance(record.command, Pause | Stop) or _only_unpauses(record):
            continue  # the driver's business, between two cycles
        step = place_of(state, schedule).step
        try:
            changed, outcome = await _carried_out(session, record, spec, schedule, step)
        except AftError as error:
            await settle_command(session, record, str(error), step=step, clock=clock, problem=error.problem)
            continue
        if changed.version != schedule.version:
            await add_schedule(session, run_id, changed, cause=f"command:{record.command_id}", clock=clock)
        schedule = changed
        await settle_command(session, record, outcome, step=step, clock=clock)
    return schedule


async def _carried_out(
    session: AsyncSession, record: CommandRecord, spec: RunSpec, schedule: Schedule, step: int
) -> tuple[Schedule, str]:
    """The schedule after the command, and what that means in words."""
    cause = f"command:{record.command_id}"
    if isinstance(record.command, Answering) and record.command.review_id is not None:
        review = await get_review(session, record.command.review_id)
        repair = agreed_repair(review)
        if repair is None:
            return schedule, _UNCHANGED.format(step=step)
        holds_from = repair.goes_on_from(step)
        changed = apply_repair(
            schedule, repair, step=step, cause=cause, spec=spec.optim, diagnosis_id=review.diagnosis_id
        )
        if review.diagnosis_id is not None:
            await _put_on_probation(session, review.diagnosis_id, repair, spec, changed, step=step)
        return changed, f"{repair.kind} holds from step {holds_from}"
    return apply_command(schedule, record.command, step=step, cause=cause, spec=spec), f"holds from step {step}"


async def _put_on_probation(
    session: AsyncSession, diagnosis_id: str, repair: Repair, spec: RunSpec, schedule: Schedule, *, step: int
) -> None:
    """The agreed repair takes the place of the question in its diagnosis, and has to prove itself like any other."""
    report = await get_diagnosis(session, diagnosis_id)
    assert report is not None, "the question was about it"
    ends_step = probation_ends(report, repair, spec, schedule, step=step)
    await choose_repair(session, diagnosis_id, repair, ends_step=ends_step)


def _only_unpauses(record: CommandRecord) -> bool:
    return isinstance(record.command, Resume) and record.command.review_id is None
