"""What the demo trains, and which spoiled row comes at which step."""

from examples.demo.poison import PoisonKind

SEED = 7
DOMAINS = ("everyday", "machines")
BATCH_SIZE = 4
MAX_LENGTH = 80
WINDOW_STEPS = 8
STEPS = 72
ROWS_PER_DOMAIN = STEPS * BATCH_SIZE // len(DOMAINS)
"""Every row is drawn exactly once in the run."""

HELD_OUT_ROWS = 12
ARMED_AFTER_STEPS = 24
"""Clean steps before the guard inside the step can tell a spike."""

POISONED_STEPS = (
    # Before the guard is armed: this update reaches the weights and has to be taken back, which a human confirms.
    (18, PoisonKind.GARBAGE),
    # After it: updates like these are refused inside the step.
    (30, PoisonKind.GARBAGE),
    (41, PoisonKind.OVERFLOW),
    # A wrong answer hardly moves the mean of its batch; it is found by its own loss, after the step.
    (52, PoisonKind.MISLABELLED),
    (53, PoisonKind.MISLABELLED),
    (62, PoisonKind.GARBAGE),
)
"""Each spoiled row and the step that draws it."""
