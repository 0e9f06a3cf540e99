"""What others do about a bad step, each as a small pure rule over loss and gradient norm.

A rule reads one step after the other. It answers whether to raise an alarm, whether and how far clipped the update is
applied, and whether the run ends. Window sizes and factors are the shipped defaults; where something has no default or
is off by default, the rule says so.
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
    clip_norm: float = math.inf
    """Largest gradient norm that is let through unscaled, where that is less than the run's own."""
    ends_run: bool = False
    """Whether training stops here, before the update."""

    def is_felt(self, clip_norm: float) -> bool:
        """Whether the run goes on otherwise than without supervision, with its own `clip_norm`."""
        return not self.applied or self.clip_norm < clip_norm


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
    armed_after: ClassVar[int] = 0
    """Steps before it can raise an alarm about anything finite."""

    def rule(self, reading: Reading) -> Ruling:
        """What is done about the next step, given what it measured."""
        del reading
        return FINE


class SkipStep(Rule):
    """OLMo-core `SkipStepOptimizer` (src/olmo_core/optim/skip_step_optimizer.py, a14de852b).

    Skip when loss > mean + 6 std or norm > mean + 6 std over the last 128 steps, from the 64th step on: it counts the
    step that it judges. The outlier joins the window. A loss that is not finite ends the run (trainer.py).
    """

    name = "OLMo-core SkipStep"
    armed_after = 63
    SIGMA, WINDOW = 6.0, 128

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=self.WINDOW)
        self._norms: deque[float] = deque(maxlen=self.WINDOW)

    def rule(self, reading: Reading) -> Ruling:
        """Skipped steps raise the alarm."""
        if not math.isfinite(reading.loss):
            return Ruling(alarm=True, applied=False, ends_run=True)
        skips = len(self._losses) >= self.armed_after and not (
            _is_within(reading.loss, self._losses, self.SIGMA)
            and _is_within(reading.grad_norm, self._norms, self.SIGMA)
        )
        self._losses.append(reading.loss)
        self._norms.append(reading.grad_norm)
        return Ruling(alarm=skips, applied=not skips)


class KillLossSpike(Rule):
    """LLM Foundry `KillLossSpike` (llmfoundry/callbacks/kill_loss_spike_callback.py, 8c8dd48f7).

    Tells when loss >= 2 mean(window) in 5 steps that follow one another, or when half of the window lies above the cap
    (the largest loss of the first window, at most 10), looked at after two windows. The window of 100 steps is not
    cleaned. Its `log_only` is True by default: it tells, and the run goes on.
    """

    name = "LLM Foundry KillLossSpike"
    armed_after = 100
    FACTOR, PATIENCE, WINDOW, MOST_CAP = 2.0, 4, 100, 10.0

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=self.WINDOW)
        self._streak = self._seen = 0
        self._cap = math.inf

    def rule(self, reading: Reading) -> Ruling:
        """What it logs is the alarm."""
        self._seen += 1
        is_full = len(self._window) == self.WINDOW
        if is_full and self._seen == self.WINDOW + 1:
            self._cap = min(max(self._window), self.MOST_CAP)
        is_high = is_full and reading.loss >= self.FACTOR * statistics.fmean(self._window)
        self._streak = self._streak + 1 if is_high else 0
        above = sum(value > self._cap for value in self._window)
        stays_high = self._seen >= 2 * self.WINDOW and above >= self.WINDOW / 2
        self._window.append(reading.loss)
        return Ruling(alarm=self._streak > self.PATIENCE or stays_high)


class SpikeDetection(Rule):
    """Lightning `SpikeDetection` (lightning/fabric/utilities/spike.py, 7f0c3436cd).

    Ends the run, with the batch on a list to exclude, when loss is not finite, or rose and lies at least
    2 mean away from the mean of the last 10. Silent at the first step.
    """

    name = "Lightning SpikeDetection"
    armed_after = 1
    FACTOR, WINDOW = 2.0, 10

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=self.WINDOW)
        self._last: float | None = None

    def rule(self, reading: Reading) -> Ruling:
        """Ending the run is the alarm."""
        spikes = self._last is not None and self._is_spike(reading.loss, self._last)
        self._window.append(reading.loss)
        self._last = reading.loss
        return Ruling(alarm=spikes, applied=not spikes, ends_run=spikes)

    def _is_spike(self, loss: float, last: float) -> bool:
        mean = statistics.fmean(self._window)
        return not math.isfinite(loss) or (loss > last and abs(loss - mean) >= abs(self.FACTOR * mean))


class ZClip(Rule):
    """ZClip (Kumar et al., 2025; zclip/zclip.py, 1acb085). It clips; that it does is read as an alarm here.

    mu <- .97 mu + .03 g, v <- .97 v + .03 (g - mu)^2, both from the first 25 steps; z = (g - mu) / (sqrt v + 1e-6) over
    2.5 clips g to mu + 2.5 sd / (z / 2.5), and the clipped value joins the averages. Nothing above the run's own clip
    norm, as its `max_grad_norm`, is let through. A norm that is not finite is an alarm too, though it is not clipped.
    """

    name = "ZClip as an alarm"
    armed_after = 25
    ALPHA, Z = 0.97, 2.5

    def __init__(self) -> None:
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def rule(self, reading: Reading) -> Ruling:
        """Clipping is the alarm."""
        if len(self._first) < self.armed_after:
            self._first.append(reading.grad_norm)
            if len(self._first) == self.armed_after:
                self._mean, self._variance = statistics.fmean(self._first), statistics.pvariance(self._first)
            return FINE
        deviation = math.sqrt(self._variance) if self._variance >= 0 else math.nan
        z = (reading.grad_norm - self._mean) / (deviation + 1e-6)
        clips = z > self.Z
        kept = self._mean + self.Z * deviation / (z / self.Z) if clips else reading.grad_norm
        self._mean = self.ALPHA * self._mean + (1 - self.ALPHA) * kept
        self._variance = self.ALPHA * self._variance + (1 - self.ALPHA) * (kept - self._mean) ** 2
        return Ruling(alarm=clips or not math.isfinite(reading.grad_norm), clip_norm=kept if clips else math.inf)


class DropNorm(Rule):
    """AXLearn `skip_and_clip_by_global_norm` with `drop_norm_by_grad_norm_ema` (axlearn/common/optimizers.py).

    Not as shipped: `drop_norm` is None by default, which skips what is not finite and nothing else. Switched on, with
    its own smallest multiplier: skip when the norm is not finite or at least 20 times its bias-corrected moving
    average, which begins at 1. The decay has no default; 0.99 is its error message's example. Skipped steps leave the
    average as it is.
    """

    name = "AXLearn drop norm"
    armed_after = 1
    FACTOR, DECAY = 20.0, 0.99

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def rule(self, reading: Reading) -> Ruling:
        """Skipped steps raise the alarm."""
        mean = self._sum / (1 - self.DECAY**self._count) if self._count else 1.0
        skips = not math.isfinite(reading.grad_norm) or reading.grad_norm >= self.FACTOR * mean
        if not skips:
            self._sum = self.DECAY * self._sum + (1 - self.DECAY) * reading.grad_norm
            self._count += 1
        return Ruling(alarm=skips, applied=not skips)


class ApplyIfFinite(Rule):
    """Optax `apply_if_finite` (optax 0.2.8).

    Updates that are not finite are withheld; after more than `max_consecutive_errors` in a row they are accepted. That
    has no default: 5 is our choice.
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
