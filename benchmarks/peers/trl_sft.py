"""`PYTHON -m benchmarks.peers.trl_sft MODEL TOKENS BATCH_SIZE`: TRL's SFTTrainer, step by step on command.

LoRA of rank 8 on all linear layers, AdamW at a constant rate, float32 on the CPU, rows in file order, nothing logged or
saved, no packing and no gradient checkpointing; all else is as TRL has it. Runs in a Python that has torch,
transformers, peft and trl, and needs nothing else of this repository.
"""

import json
import os
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.peers.turns import Turns

ENDLESS = 10**6


class Recording(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that remembers its losses."""

    losses: list[torch.Tensor]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """The loss, as SFTTrainer has it."""
        result = super().compute_loss(*args, **kwargs)
        loss = result[0] if isinstance(result, tuple) else result
        self.losses.append(loss.detach())
        return result


class TakesTurns(TrainerCallback):  # type: ignore[misc]
    """Lets the trainer go on only when it is its turn, and times its steps, data loading included."""

    def __init__(self, turns: Turns) -> None:
        self._turns, self._left, self._seconds = turns, 0, list[float]()
        self._began_s = 0.0
        self.losses: list[torch.Tensor] = []

    def on_train_begin(self, _args: Any, _state: Any, control: Any, *, model: Any, **_: Any) -> None:
        """Says what was loaded."""
        self._turns.answer(
            {
                "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
                "threads": torch.get_num_threads(),
                "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
            }
        )
        self._wait(control)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Ends the turn after its last step."""
        now_s = time.perf_counter()
        self._seconds.append(now_s - self._began_s)
        self._began_s = now_s
        self._left -= 1
        if self._left == 0:
            losses = [float(loss) for loss in self.losses[-len(self._seconds) :]]
            self._turns.answer({"seconds": self._seconds, "losses": losses})
            self._wait(control)

    def _wait(self, control: Any) -> None:
        steps = self._turns.await_turn()
        control.should_training_stop = steps is None
        self._left, self._seconds, self._began_s = steps or 0, [], time.perf_counter()


def main() -> None:
    """Trains until nobody asks any more."""
    turns = Turns()
    model_dir, tokens_file, batch_size = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = json.loads(tokens_file.read_text())
    with tempfile.TemporaryDirectory() as out_dir:
        config = SFTConfig(
            output_dir=out_dir,
            per_device_train_batch_size=batch_size,
            max_steps=ENDLESS,
            max_length=len(rows[0]),
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            packing=False,
            gradient_checkpointing=False,
            bf16=False,
            fp16=False,
            use_cpu=True,
            train_sampling_strategy="sequential",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        takes_turns = TakesTurns(turns)
        trainer = Recording(
            model=AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32),
            args=config,
            train_dataset=Dataset.from_dict({"input_ids": rows}),
            processing_class=AutoTokenizer.from_pretrained(model_dir),
            peft_config=LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear"),
            callbacks=[takes_turns],
        )
        trainer.losses = takes_turns.losses
        trainer.train()


if __name__ == "__main__":
    main()
