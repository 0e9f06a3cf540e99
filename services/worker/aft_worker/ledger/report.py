"""The report: measures, suspicion and duplicates of every sample that a run has seen, ranked."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aft_contracts import SampleOrder, SampleReport, SamplesReport
from aft_worker.checkpoint.newest import NewestCommit, newest_commit
from aft_worker.ledger.contents import UNKNOWN, Contents
from aft_worker.ledger.errors import NothingTrainedYet, UnknownDomain
from aft_worker.ledger.measures import Dynamics, dynamics
from aft_worker.ledger.presentations import Floats, Ints, Presentations
from aft_worker.ledger.reader import read_ledger
from aft_worker.ledger.suspicion import Suspicion, suspicion


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSamples:
    """All that a run's ledger says of its samples."""

    run_id: str
    commit: NewestCommit
    steps_recorded: int
    seen: Presentations
    dynamics: Dynamics
    suspicion: Suspicion
    contents: Contents | None
    """None where the run has no table of its rows."""

    def ranked(self, order: SampleOrder, domain: str | None) -> Ints:
        """Samples of `domain`, or all, those first that a person would look at first; equal ones by step, then id.

        Raises:
            UnknownDomain: no sample of that domain was seen.
        """
        if domain is not None and domain not in self.seen.domains:
            raise UnknownDomain(
                f"No sample of domain {domain!r} was trained on; there are {list(self.seen.domains)}.", domain=domain
            )
        chosen = np.arange(len(self.seen.sample_ids))
        if domain is not None:
            chosen = chosen[self.seen.domain_of == self.seen.domains.index(domain)]
        # Figures that are not finite come first: nothing is more worth a look.
        keys = -np.nan_to_num(self._figure(order)[chosen], nan=np.inf)
        ids = self.seen.sample_ids[chosen].astype(str)
        return chosen[np.lexsort((ids, self.dynamics.last_step[chosen], keys))]

    def report(self, *, order: SampleOrder, domain: str | None, limit: int) -> SamplesReport:
        """The first `limit` samples as a contract."""
        ranked = self.ranked(order, domain)
        samples = sample_table(self, ranked[:limit]).to_pylist()
        return SamplesReport(
            run_id=self.run_id,
            generation=self.commit.generation,
            step=self.commit.step,
            steps_recorded=self.steps_recorded,
            presentations=len(self.seen),
            seen=len(self.seen.sample_ids),
            rows=None if self.contents is None else len(self.contents),
            matching=len(ranked),
            samples=tuple(SampleReport.model_validate(sample) for sample in samples),
        )

    def _figure(self, order: SampleOrder) -> Floats:
        """What `order` ranks by, highest first, [S]."""
        measured = self.dynamics
        figures: dict[SampleOrder, Floats] = {
            SampleOrder.SUSPICION: self.suspicion.score,
            SampleOrder.LOSS: measured.mean_loss,
            SampleOrder.CONFIDENCE: -measured.confidence,
            SampleOrder.VARIABILITY: measured.variability,
            SampleOrder.FORGETTING: measured.forgetting_events.astype(np.float64),
            SampleOrder.GRAD_NORM: measured.mean_grad_norm,
            SampleOrder.SEEN: measured.times_seen.astype(np.float64),
        }
        return figures[order]


def sample_table(of: RunSamples, samples: Ints) -> pa.Table:
    """The fields of SampleReport as columns, a row for each of `samples`."""
    seen, measured, suspicion = of.seen, of.dynamics, of.suspicion
    banned = of.commit.schedule.banned
    ids, domains = seen.sample_ids[samples].tolist(), [seen.domains[d] for d in seen.domain_of[samples].tolist()]
    contents = [of.contents.of(*place) if of.contents else UNKNOWN for place in zip(domains, ids, strict=True)]
    correctness = measured.correctness[samples]
    return pa.table(
        {
            "sample_id": pa.array(ids, pa.string()),
            "domain": pa.array(domains, pa.string()),
            "suspicion": suspicion.score[samples],
            "suspicion_loss": suspicion.loss[samples],
            "suspicion_grad_norm": suspicion.grad_norm[samples],
            "times_seen": measured.times_seen[samples],
            "epochs": measured.epochs[samples],
            "last_step": measured.last_step[samples],
            "tokens": measured.tokens[samples],
            "mean_loss": measured.mean_loss[samples],
            "last_loss": measured.last_loss[samples],
            "non_finite": measured.non_finite[samples],
            "withheld": measured.withheld[samples],
            "confidence": measured.confidence[samples],
            "variability": measured.variability[samples],
            "correctness": pa.array(correctness, mask=np.isnan(correctness)),
            "forgetting_events": measured.forgetting_events[samples],
            "mean_grad_norm": measured.mean_grad_norm[samples],
            "max_grad_norm": measured.max_grad_norm[samples],
            "content_hash": pa.array([content.content_hash for content in contents], pa.string()),
            "lines": pa.array([content.lines for content in contents], pa.list_(pa.int64())),
            "duplicates": pa.array([content.duplicates for content in contents], pa.list_(pa.string())),
            "duplicate_rows": pa.array([content.duplicate_rows for content in contents], pa.int64()),
            "blacklisted": pa.array([sample_id in banned for sample_id in ids], pa.bool_()),
        }
    )


def run_samples(run_folder: Path, run_id: str) -> RunSamples:
    """Reads and measures the ledger below `run_folder`, as of the newest committed window.

    Raises:
        NothingTrainedYet: no window is committed, or the run was trained before ledgers were kept.
    """
    commit = newest_commit(run_folder / "checkpoints")
    if commit is None or commit.step == 0:
        raise NothingTrainedYet(f"Run {run_id} has no committed window yet; ask again after its first.", run_id=run_id)
    reading = read_ledger(run_folder / "ledger", commit.schedule, commit.step)
    seen = reading.presentations
    if not len(seen):
        raise NothingTrainedYet(
            f"Run {run_id} stands at step {commit.step}, but its ledger holds none of its steps; "
            "it was trained by an older aft, or its ledger was removed or damaged.",
            run_id=run_id,
        )
    contents = None if reading.rows is None else Contents(reading.rows)
    rows = np.bincount(seen.domain_of) if contents is None else contents.rows_of_domains(seen.domains)
    return RunSamples(
        run_id=run_id,
        commit=commit,
        steps_recorded=reading.steps_recorded,
        seen=seen,
        dynamics=dynamics(seen, rows),
        suspicion=suspicion(seen),
        contents=contents,
    )
