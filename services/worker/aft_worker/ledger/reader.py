"""Reads a ledger back: the presentations on a run's lineage, and the table of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from aft_contracts import Schedule
from aft_worker.ledger.file import table_of
from aft_worker.ledger.presentations import Ints, Presentations
from aft_worker.ledger.schema import PRESENTATIONS, ROWS
from aft_worker.ledger.writer import ROWS_NAME


@dataclass(frozen=True, kw_only=True, eq=False)
class LedgerReading:
    """What a ledger holds of one lineage."""

    presentations: Presentations
    """Those that carried loss."""
    steps_recorded: int
    """Distinct steps on the lineage that the ledger holds."""
    rows: pa.Table | None
    """The table of the training rows; None where there is none, or it is damaged."""


def read_ledger(folder: Path, schedule: Schedule, step: int) -> LedgerReading:
    """What `folder` holds of the lineage of `schedule` up to `step`.

    Windows that never committed lie behind `step`, and those of generations that were rolled back behind their branch:
    both are left out. A damaged or missing file leaves its steps out, which `steps_recorded` tells; damaged or
    missing `rows` are None.

    Raises:
        OSError: the disk does not give a file; what it holds may be whole.
    """
    reach = dict(schedule.lineage(step))
    table = _lineage_table(folder, reach)
    carried = table.filter(pa.array(table["tokens"].to_numpy() > 0))
    return LedgerReading(
        presentations=_presentations(carried),
        steps_recorded=len(table["step"].unique()),
        rows=_rows(folder / ROWS_NAME),
    )


def _lineage_table(folder: Path, reach: Mapping[int, int]) -> pa.Table:
    """All presentations on the lineage, in the order of training."""
    parts = [PRESENTATIONS.empty_table()]
    for path in sorted(folder.glob("*-*.parquet")):
        generation = path.name.partition("-")[0]
        if generation.isdigit() and (until := reach.get(int(generation), 0)) > 0:
            window = table_of(path.read_bytes(), PRESENTATIONS)
            if window is not None:
                parts.append(window.filter(pa.array(window["step"].to_numpy() < until)))
    whole = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    # Stable, so that the rows of one step stay in the order of its batch.
    order = np.argsort(whole["step"].to_numpy(), kind="stable")
    return whole.take(pa.array(order))


def _presentations(table: pa.Table) -> Presentations:
    """The table as arrays; a sample is an id within a domain."""
    ids = table["sample_id"].combine_chunks().dictionary_encode()
    domains = table["domain"].combine_chunks()
    names = domains.dictionary.to_pylist()
    pairs, sample = np.unique(_codes(ids) * max(1, len(names)) + _codes(domains), return_inverse=True)
    known_ids = np.asarray(ids.dictionary.to_pylist(), dtype=object)
    return Presentations(
        sample_ids=known_ids[pairs // max(1, len(names))],
        domains=tuple(names),
        domain_of=pairs % max(1, len(names)),
        sample=sample,
        step=table["step"].to_numpy(),
        loss=table["loss"].to_numpy(),
        grad_norm=table["grad_norm"].to_numpy(),
        accuracy=table["accuracy"].to_numpy(),
        tokens=table["tokens"].to_numpy().astype(np.int64),
        applied=table["applied"].to_numpy(),
    )


def _codes(column: pa.DictionaryArray) -> Ints:
    codes: Ints = column.indices.to_numpy().astype(np.int64)
    return codes


def _rows(path: Path) -> pa.Table | None:
    return table_of(path.read_bytes(), ROWS) if path.is_file() else None
