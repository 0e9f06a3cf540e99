"""Ledger: what each window did with each sample, on disk before the window is committed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from aft_contracts import MetricsWindow
from aft_worker.data.table import TokenTable
from aft_worker.durable import write_durably
from aft_worker.ledger.errors import LedgerNotWritten
from aft_worker.ledger.file import file_of
from aft_worker.ledger.rows import rows_table
from aft_worker.ledger.schema import PRESENTATIONS

ROWS_NAME = "rows.parquet"


def window_path(folder: Path, generation: int, index: int) -> Path:
    """Where a window's presentations lie; names sort as windows follow each other."""
    return folder / f"{generation:04d}-{index:08d}.parquet"


class Ledger:
    """Writes one file a window.

    A window that is trained again writes the same bytes to the same place, so a crash at any moment costs nothing and
    counts nothing twice. Files of windows that never committed stay: the reader knows how far the run's lineage goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, metrics: MetricsWindow, *, generation: int, index: int) -> None:
        """Writes every sample of every step of one window; the file is on disk when this returns.

        Raises:
            LedgerNotWritten: the disk is full, or does not do as it is told.
        """
        path = window_path(self.folder, generation, index)
        content = file_of(_presentations(metrics, generation, index))
        try:
            write_durably(path, content)
        except OSError as error:
            raise LedgerNotWritten(
                f"The samples of window {metrics.window_id} could not be written to {path} ({error}); make room or "
                "repair the disk. The window is trained again when it is put again.",
                window_id=metrics.window_id,
            ) from error

    def write_rows(self, tables: Mapping[str, TokenTable]) -> None:
        """Writes the table of the training rows.

        Raises:
            LedgerNotWritten: the disk is full, or does not do as it is told.
        """
        path = self.folder / ROWS_NAME
        try:
            write_durably(path, file_of(rows_table(tables)))
        except OSError as error:
            raise LedgerNotWritten(
                f"The table of the training rows could not be written to {path} ({error}); make room or repair the "
                "disk, then start the run again."
            ) from error

    @property
    def has_rows(self) -> bool:
        """Whether the table of the training rows is there."""
        return (self.folder / ROWS_NAME).is_file()


def _presentations(metrics: MetricsWindow, generation: int, index: int) -> pa.Table:
    seen = [(step, sample) for step in metrics.steps for sample in step.samples]
    columns: dict[str, list[Any]] = {
        "generation": [generation] * len(seen),
        "window": [index] * len(seen),
        "step": [step.step for step, _ in seen],
        "sample_id": [sample.sample_id for _, sample in seen],
        "domain": [sample.domain for _, sample in seen],
        "loss": [sample.loss for _, sample in seen],
        "grad_norm": [sample.grad_norm for _, sample in seen],
        "accuracy": [sample.accuracy for _, sample in seen],
        "tokens": [sample.tokens for _, sample in seen],
        "applied": [step.applied for step, _ in seen],
    }
    return pa.table(columns, schema=PRESENTATIONS)
