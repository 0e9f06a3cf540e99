"""Records: what training a step measures, as a pure function of the step, ready to be sent."""

import math
import random
from functools import cache

from aft_contracts import SampleRecord, StepRecord, Withheld

BATCH = 8
ROWS = 4000
BAD_STEP = 4
"""The step at which a run with a bad row meets it."""


def step_record(step: int, *, bad_row: bool = False, masked: frozenset[str] = frozenset()) -> StepRecord:
    """A step of eight samples; with `bad_row` one of those of `BAD_STEP` has no finite loss unless it is masked."""
    noise = random.Random(step)
    names = [f"chat-{(step * BATCH + row) % ROWS:08x}" for row in range(BATCH)]
    bad = names[0] if bad_row and step == BAD_STEP else None
    samples = tuple(_sample(name, noise, is_bad=name == bad, is_masked=name in masked) for name in names)
    counted = [sample for sample in samples if sample.tokens]
    loss = sum(sample.loss for sample in counted) / len(counted)
    withheld = None if math.isfinite(loss) else Withheld.NON_FINITE
    return StepRecord(
        step=step,
        loss=loss,
        grad_norm=math.exp(noise.gauss(0, 0.05)),
        lr=2e-4,
        clip_norm=1.0,
        tokens=sum(sample.tokens for sample in samples),
        applied=withheld is None,
        withheld=withheld,
        seconds=0.1,
        samples=samples,
    )


def _sample(name: str, noise: random.Random, *, is_bad: bool, is_masked: bool) -> SampleRecord:
    loss, norm = 3.0 + noise.gauss(0, 0.15), math.exp(noise.gauss(0, 0.1))
    return SampleRecord(
        sample_id=name,
        domain="chat",
        loss=math.nan if is_bad else loss,
        grad_norm=math.nan if is_bad else norm,
        accuracy=noise.uniform(0.3, 0.6),
        tokens=0 if is_masked else noise.randint(60, 200),
    )


@cache
def steps_json(start_step: int, end_step: int, *, bad_row: bool) -> bytes:
    """The records of these steps as JSON, with their samples."""
    steps = [step_record(step, bad_row=bad_row) for step in range(start_step, end_step)]
    return b"[" + b",".join(step.model_dump_json().encode() for step in steps) + b"]"


@cache
def progress_json(start_step: int, end_step: int, *, bad_row: bool) -> bytes:
    """The same without samples, as a job shows them while it runs."""
    steps = [
        step_record(step, bad_row=bad_row).model_copy(update={"samples": ()}) for step in range(start_step, end_step)
    ]
    return b"[" + b",".join(step.model_dump_json().encode() for step in steps) + b"]"
