"""What others do about a bad step, as shipped, each as a small pure rule over loss and gradient norm.

A rule reads one step after the other. It answers whether to raise an alarm, whether the update is applied, and whether
the run ends. Window sizes and factors are the shipped defaults.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What is done about a step."""

    alarm: bool = False
    applied: bool = True
    """Whether the update reaches the weights."""
    ends_run: bool = False
    """Whether training stops here, before the update."""


FINE = Ruling()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a step measured before its update."""

    loss: float
    """In nats per token."""
    grad_norm: float
    """Global norm, before clipping."""


class Rule:
    """No supervision: every update is applied."""

    name: ClassVar[str] = "no supervision"

    def rule(self, reading: Reading) -> Ruling:
        """What is done about the next step, given what it measured."""
        del reading
        return FINE


class SkipStep(Rule):
    """OLMo-core `SkipStepOptimizer` (src/olmo_core/optim/skip_step_optimizer.py, fa6c5014c).

    Skip when loss > mean + 6 std or norm > mean + 6 std over the last 128 steps, once there are 64. The outlier joins
    the window. A loss that is not finite ends the run (trainer.py).
    """

    name = "OLMo-core SkipStep"
    SIGMA, WINDOW, ARMED = 6.0, 128, 64

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=self.WINDOW)
        self._norms: deque[float] = deque(maxlen=self.WINDOW)

    def rule(self, reading: Reading) -> Ruling:
        """Skipped steps raise the alarm."""
        if not math.isfinite(reading.loss):
            return Ruling(alarm=True, applied=False, ends_run=True)
        skips = len(self._losses) >= self.ARMED and not (
            _is_within(reading.loss, self._losses, self.SIGMA)
            and _is_within(reading.grad_norm, self._norms, self.SIGMA)
        )
        self._losses.append(reading.loss)
        self._norms.append(reading.grad_norm)
        return Ruling(alarm=skips, applied=not skips)


class KillLossSpike(Rule):
    """LLM Foundry `KillLossSpike` (llmfoundry/callbacks/kill_loss_spike_callback.py, 8c8dd48f7).

    Ends the run when loss >= 2 mean(window) in 5 steps that follow one another, or when half of the window lies above
    the cap (the largest loss of the first window, at most 10), looked at after two windows. The window of 100 steps is
    not cleaned.
    """

    name = "LLM Foundry KillLossSpike"
    FACTOR, PATIENCE, WINDOW, MOST_CAP = 2.0, 4, 100, 10.0

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=self.WINDOW)
        self._streak = self._seen = 0
        self._cap = math.inf

    def rule(self, reading: Reading) -> Ruling:
        """Ending the run is the alarm."""
        self._seen += 1
        is_full = len(self._window) == self.WINDOW
        if is_full and self._seen == self.WINDOW + 1:
            self._cap = min(max(self._window), self.MOST_CAP)
        is_high = is_full and reading.loss >= self.FACTOR * statistics.fmean(self._window)
        self._streak = self._streak + 1 if is_high else 0
        above = sum(value > self._cap for value in self._window)
        stays_high = self._seen >= 2 * self.WINDOW and above >= self.WINDOW / 2
        self._window.append(reading.loss)
        ends = self._streak > self.PATIENCE or stays_high
        return Ruling(alarm=ends, applied=not ends, ends_run=ends)


class SpikeDetection(Rule):
    """Lightning `SpikeDetection` (lightning/fabric/utilities/spike.py, 7f0c3436cd).

    Ends the run, with the batch on a list to exclude, when loss is not finite, or rose and lies at least
    2 mean away from the mean of the last 10.
    """

    name = "Lightning SpikeDetection"
    FACTOR, WINDOW = 2.0, 10

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=self.WINDOW)
        self._last: float | None = None

    def rule(self, reading: Reading) -> Ruling:
        """Ending the run is the alarm."""
        spikes = not math.isfinite(reading.loss) or (
            self._last is not None
            and reading.loss > self._last
            and abs(reading.loss - statistics.fmean(self._window)) >= self.FACTOR * statistics.fmean(self._window)
        )
        self._window.append(reading.loss)
        self._last = reading.loss
        return Ruling(alarm=spikes, applied=not spikes, ends_run=spikes)


class ZClip(Rule):
    """ZClip (Kumar et al., 2025; zclip/zclip.py, 1acb085), its clipping read as an alarm; the update is applied.

    mu <- .97 mu + .03 g, v <- .97 v + .03 (g - mu)^2, both from the first 25 steps; z = (g - mu) / (sqrt v + 1e-6) over
    2.5 clips g to mu + 2.5 sd / (z / 2.5), and the clipped value joins the averages.
    """

    name = "ZClip as an alarm"
    ALPHA, Z, FIRST = 0.97, 2.5, 25

    def __init__(self) -> None:
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def rule(self, reading: Reading) -> Ruling:
        """Clipping is the alarm."""
        if len(self._first) < self.FIRST:
            self._first.append(reading.grad_norm)
            self._mean, self._variance = statistics.fmean(self._first), statistics.pvariance(self._first)
            return FINE
        deviation = math.sqrt(self._variance) if self._variance >= 0 else math.nan
        z = (reading.grad_norm - self._mean) / (deviation + 1e-6)
        clips = z > self.Z or not math.isfinite(reading.grad_norm)
        kept = self._mean + self.Z * deviation / (z / self.Z) if z > self.Z else reading.grad_norm
        self._mean = self.ALPHA * self._mean + (1 - self.ALPHA) * kept
        self._variance = self.ALPHA * self._variance + (1 - self.ALPHA) * (kept - self._mean) ** 2
        return Ruling(alarm=clips)


class DropNorm(Rule):
    """AXLearn `skip_and_clip_by_global_norm` with its adaptive drop norm (axlearn/common/optimizers.py).

    Skip when the norm is not finite or at least 20 times its bias-corrected moving average (decay 0.99). Skipped steps
    leave the average as it is. Its second rule, mean + k std, begins after 500 steps, more than a run has here.
    """

    name = "AXLearn drop norm"
    FACTOR, DECAY = 20.0, 0.99

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def rule(self, reading: Reading) -> Ruling:
        """Skipped steps raise the alarm."""
        mean = self._sum / (1 - self.DECAY**self._count) if self._count else math.inf
        skips = not math.isfinite(reading.grad_norm) or reading.grad_norm >= self.FACTOR * mean
        if not skips:
            self._sum = self.DECAY * self._sum + (1 - self.DECAY) * reading.grad_norm
            self._count += 1
        return Ruling(alarm=skips, applied=not skips)


class ApplyIfFinite(Rule):
    """Optax `apply_if_finite(max_consecutive_errors=5)` (optax 0.2.8).

    Updates that are not finite are withheld; after more than 5 in a row they are accepted.
    """

    name = "Optax apply_if_finite"
    MOST_ERRORS = 5

    def __init__(self) -> None:
        self._errors = 0

    def rule(self, reading: Reading) -> Ruling:
        """Withheld steps raise the alarm."""
        is_finite = math.isfinite(reading.grad_norm)
        self._errors = 0 if is_finite else self._errors + 1
        return Ruling(alarm=not is_finite, applied=is_finite or self._errors > self.MOST_ERRORS)


RULES: tuple[type[Rule], ...] = (Rule, SkipStep, KillLossSpike, SpikeDetection, ZClip, DropNorm, ApplyIfFinite)


def _is_within(value: float, window: deque[float], sigma: float) -> bool:
    """False as well where either is NaN: the comparison is the shipped one."""
    deviation = statistics.stdev(window) if all(map(math.isfinite, window)) else math.nan
    return value <= statistics.fmean(window) + sigma * deviation
