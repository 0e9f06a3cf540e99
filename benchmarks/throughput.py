"""Tokens per second of SmolLM2-135M with LoRA of rank 8 on all linear layers, in float32, beside TRL's SFTTrainer.

Two processes hold the same model and take turns on the same rows: aft's supervised windows, and SFTTrainer in the
Python that `--peer-python` names. Neither is timed while it saves. `share_of_matmul_peak` is the arithmetic of a step
(`arithmetic.py` has the formula) ÷ its time ÷ the best of four 2048³ products just before, in the same process: the
median over the turns. `share_of_best_matmul` holds the median step against the best product of all turns.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import run, say
from benchmarks.models import CACHE, model_dir
from benchmarks.pairs import Measure, interleaved, ratio_of
from benchmarks.peers.turns import Child
from benchmarks.report import Report, at_least, watched

TOKENS_RATIO = at_least("tokens_ratio_vs_trl", 1.4)
PEAK_SHARE = at_least("share_of_matmul_peak", 0.65)
BATCH_SIZE, LENGTH = 4, 128
TURN_STEPS, ROUNDS = 2, 10
TIMEOUT_S = 600


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Measures aft, and TRL where it is."""
    model = "tiny" if report.quick else "smollm2"
    case = f"{model} LoRA B={BATCH_SIZE} T={LENGTH}"
    with tempfile.TemporaryDirectory(dir=_made(CACHE)) as folder, ExitStack() as children:
        tokens_file = Path(folder) / "tokens.json"
        aft = Trainee("aft", children.enter_context(_aft(model, tokens_file)))
        arms: dict[str, Measure] = {"aft": aft}
        trl: Trainee | None = None
        if arguments.peer_python.exists():
            trl = Trainee("trl", children.enter_context(_trl(model, tokens_file, arguments.peer_python)))
            arms["trl"] = trl
            report.note(f"TRL: {trl.child.ready}")
        else:
            report.note(f"tokens_ratio_vs_trl was not measured: --peer-python {arguments.peer_python} is not there.")
        timings = interleaved(arms, rounds=1 if report.quick else ROUNDS, warm_ups=1)
    report.keep(case, timings.seconds)
    if trl is not None:
        refuse_another_training(aft, trl)
        ratio = timings.ratio("trl", over="aft")
        report.add(case, TOKENS_RATIO, ratio.median, ratio.interval)
    _add_share(report, case, aft, timings.seconds["aft"])
    for arm in arms:
        report.add(case, watched(f"{arm}_step_s"), timings.median(arm))
        report.add(case, watched(f"{arm}_tokens_per_s"), BATCH_SIZE * LENGTH / timings.median(arm))


class Trainee:
    """A trainer in a process of its own that takes a turn when it is called."""

    def __init__(self, name: str, child: Child) -> None:
        self.name, self.child = name, child
        self.answers: list[dict[str, Any]] = []

    def __call__(self) -> float:
        """Seconds a step in the next turn."""
        self.answers.append(self.child.take(TURN_STEPS))
        step_s = float(np.mean(self.answers[-1]["seconds"]))
        say(f"{self.name} {step_s:.2f} s a step")
        return step_s


def refuse_another_training(aft: Trainee, trl: Trainee) -> None:
    """Compares what both began with.

    Raises:
        AssertionError: they train other numbers of parameters, or the first batch has another loss.
    """
    assert aft.child.ready["trained_parameters"] == trl.child.ready["trained_parameters"]
    # Adapters begin with B = 0, so before the first update both are the base model.
    np.testing.assert_allclose(aft.answers[0]["losses"][0], trl.answers[0]["losses"][0], rtol=1e-4)


def _aft(model: str, tokens_file: Path) -> Child:
    arguments = [model, str(BATCH_SIZE), str(LENGTH), str(tokens_file)]
    return Child([sys.executable, "-m", "benchmarks.peers.aft_lora", *arguments], timeout_s=TIMEOUT_S)


def _trl(model: str, tokens_file: Path, python: Path) -> Child:
    arguments = [str(model_dir(model)), str(tokens_file), str(BATCH_SIZE)]
    command = [str(python), "-m", "benchmarks.peers.trl_sft", *arguments]
    return Child(command, timeout_s=TIMEOUT_S, environment={"HF_HUB_OFFLINE": "1"})


def _add_share(report: Report, case: str, aft: Trainee, step_s: Sequence[float]) -> None:
    # Each turn's step against the products just before it, so that whatever the machine does hits both alike.
    peaks = [answer["peak_flop_per_s"] for answer in aft.answers[-len(step_s) :]]
    report.keep(case, {"matmul flop per s": peaks})
    flop = aft.child.ready["flop"]
    share = ratio_of([flop / peak for peak in peaks], step_s)
    report.add(case, PEAK_SHARE, share.median, share.interval)
    report.add(case, watched("share_of_best_matmul"), flop / float(np.median(step_s)) / max(peaks))
    report.add(case, watched("step_gflop"), flop / 1e9)
    report.add(case, watched("matmul_peak_gflop_per_s"), max(peaks) / 1e9)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--peer-python",
        type=Path,
        default=Path(".venv-peers/bin/python"),
        metavar="FILE",
        help="a Python with torch, transformers, peft and trl (default: %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(run("throughput", measure, summary=__doc__, add_arguments=_add_arguments))
