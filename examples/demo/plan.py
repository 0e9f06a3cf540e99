"""What the demo trains, and which spoiled row comes at which step."""

from examples.demo.poison import PoisonKind

SEED = 7
DOMAINS = ("everyday", "machines")
BATCH_SIZE = 4
MAX_LENGTH = 96
WINDOW_STEPS = 8
STEPS = 96
ROWS_PER_DOMAIN = STEPS * BATCH_SIZE // len(DOMAINS)
"""Every row is drawn exactly once in the run."""

HELD_OUT_ROWS = 16
ARMED_AFTER_STEPS = 16
"""Clean steps before the guard inside the step can tell a spike."""

POISONED_STEPS = (
    # Before the guard is armed: this update reaches the weights, so it has to be taken back, which a human confirms.
    (12, PoisonKind.GARBAGE),
    (28, PoisonKind.GARBAGE),
    (37, PoisonKind.OVERFLOW),
    (50, PoisonKind.MISLABELLED),
    (60, PoisonKind.GARBAGE),
    (75, PoisonKind.MISLABELLED),
)
"""Each spoiled row and the step that draws it."""
