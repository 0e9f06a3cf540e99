"""`python -m benchmarks.peers.aft_lora MODEL BATCH_SIZE LENGTH TOKENS`: aft's supervised windows, on command.

Writes the token rows of its steps to TOKENS, in the order in which it trains on them, for others to train on the same.
Each turn is one window, timed until its last step is done, as a peer is timed without saving. Before each turn the
process measures how fast this machine multiplies matrices.
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from aft_contracts import Schedule
from aft_worker.trainer import Trainer
from benchmarks.arithmetic import lora_step_flop
from benchmarks.command import quieten
from benchmarks.peers.turns import Turns
from benchmarks.runs import open_trainer
from benchmarks.windows import Windows, open_session

PEAK_SIZE = 2048
PEAK_READINGS = 4
STEPS_WRITTEN = 64
"""Steps whose rows are written; a peer that takes more begins again."""


def main() -> None:
    """Trains until nobody asks any more."""
    quieten()
    turns = Turns()
    model, batch_size, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    trainer = open_trainer(model, batch_size=batch_size, length=length, lora=True)
    _write_rows(trainer, Path(sys.argv[4]))
    with open_session(trainer) as session:
        flop = lora_step_flop(trainer.model, batch_size=batch_size, length=length)
        turns.answer({"flop": flop, "trained_parameters": session.trainable_parameters})
        windows = Windows(session)
        while (steps := turns.await_turn()) is not None:
            peak = _matmul_flop_per_s()
            window = windows.train(steps)
            turns.answer(
                {"seconds": [window.steps_s / steps] * steps, "losses": window.losses, "peak_flop_per_s": peak}
            )


def _write_rows(trainer: Trainer, path: Path) -> None:
    batches = (trainer.batches.batch_at(step, Schedule()) for step in range(STEPS_WRITTEN))
    path.write_text(json.dumps([row for batch in batches for row in batch.tokens.tolist()]))


def _matmul_flop_per_s() -> float:
    """The best of several large products in float32, after one that does not count."""
    left = jnp.ones((PEAK_SIZE, PEAK_SIZE), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    multiply(left, left).block_until_ready()
    seconds = []
    for _ in range(PEAK_READINGS):
        started = time.perf_counter()
        multiply(left, left).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return 2 * PEAK_SIZE**3 / min(seconds)


if __name__ == "__main__":
    main()
