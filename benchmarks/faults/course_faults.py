"""Faults of the course: a learning rate that nobody wanted, and a gradient that explodes."""

from aft_contracts import Verdict
from aft_worker.model.parameters import with_values
from aft_worker.train.state import TrainState
from benchmarks.faults.case import Case, Truth

SPIKE_FACTOR, SPIKE_STEPS = 50.0, 4
HIGH_FACTOR = 16.0
EXPLOSION_FACTOR, EXPLOSION_STEPS = 1e4, 2


class CourseFault(Case):
    """It comes back however often the steps are trained, whatever the rows."""

    @property
    def truth(self) -> Truth:
        """The course did it."""
        return Truth(first_step=self.first_step, verdict=Verdict.OPTIMISATION)


class RateSpike(CourseFault):
    """The learning rate is far too high for a few steps, as after a wrong line in a schedule; the records tell."""

    name = "learning_rate_spike"

    def rate_factor(self, step: int) -> float:
        """High for `SPIKE_STEPS` steps."""
        return SPIKE_FACTOR if self.first_step <= step < self.first_step + SPIKE_STEPS else 1.0


class UnrecordedRate(RateSpike):
    """The same spike, while the records show the rate that was meant: between schedule and optimizer it went wrong."""

    name = "unreported_rate"

    def recorded_factor(self, step: int) -> float:
        """Nothing is to be seen."""
        del step
        return 1.0


class RateTooHigh(CourseFault):
    """From some step on the learning rate is simply too high, and the loss slowly rises; the records tell."""

    name = "learning_rate_too_high"

    def rate_factor(self, step: int) -> float:
        """High from the first harmful step to the end."""
        return HIGH_FACTOR if step >= self.first_step else 1.0


class RateTooHighFromStart(CourseFault):
    """The learning rate is too high from the first step on, as somebody wrote it: there is no jump to be seen.

    The loss falls all the way, and ends a little higher than it could have.
    """

    name = "rate_too_high_from_start"

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.first_step = 0

    def rate_factor(self, step: int) -> float:
        """High from the beginning to the end."""
        del step
        return HIGH_FACTOR


class Explosion(CourseFault):
    """The gradient of one layer explodes in two steps, while the loss is what it always was.

    A layer's value projection is divided by a factor that its output projection is multiplied by. The network computes
    the same, and the gradient of the value projection is that factor times what it was. Afterwards this is undone.
    """

    name = "gradient_explosion"

    def before(self, state: TrainState, step: int) -> TrainState:
        """Out of balance in the steps that explode."""
        return _balanced(state, 1 / EXPLOSION_FACTOR) if self._explodes(step) else state

    def after(self, state: TrainState, step: int) -> TrainState:
        """In balance again."""
        return _balanced(state, EXPLOSION_FACTOR) if self._explodes(step) else state

    def _explodes(self, step: int) -> bool:
        return self.first_step <= step < self.first_step + EXPLOSION_STEPS


def _balanced(state: TrainState, factor: float) -> TrainState:
    """The first layer's value projection times `factor`, its output projection divided by it."""

    def value(path: tuple[str, ...], variable: object) -> object:
        array = variable.get_value()  # type: ignore[attr-defined]
        if path[-1] == "kernel" and "v_proj" in path:
            return array.at[0].multiply(factor)
        if path[-1] == "kernel" and "o_proj" in path:
            return array.at[0].divide(factor)
        return array

    return TrainState(
        trainable=with_values(state.trainable, value),
        opt_state=state.opt_state,
        guard=state.guard,
        step=state.step,
    )


COURSE_FAULTS = (RateSpike, UnrecordedRate, RateTooHigh, Explosion)
HARD_FAULTS = (RateTooHighFromStart,)
"""Reported apart: nothing in such a run tells it from one that was meant so."""
