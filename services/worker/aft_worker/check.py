"""A look at a spec's model and data, without loading either."""

from pathlib import Path

from aft_contracts import RunSpec
from aft_worker.data.encoder import load_encoder
from aft_worker.data.errors import EmptyDomain
from aft_worker.data.table import load_table
from aft_worker.model.config_file import read_config
from aft_worker.model.errors import ModelFileMissing

ROWS_LOOKED_AT = 50
"""Rows of each source that are read; the rest is seen when the run is loaded."""


def check_spec(spec: RunSpec) -> None:
    """Raises the WorkerError that loading the spec would end in, as far as a quick look can tell."""
    path = Path(spec.model.path)
    if not path.is_dir():
        raise ModelFileMissing(path, "it is the model's directory")
    read_config(path).refuse_longer_than_positions(spec.data.max_length)
    encoder = load_encoder(path, max_length=spec.data.max_length)
    for domain in spec.data.domains.values():
        table = load_table(domain, encoder, spec.data.on_bad_row, most_rows=ROWS_LOOKED_AT)
        if domain.weight > 0 and not len(table) and not table.skipped:
            raise EmptyDomain(f"{domain.path!r} has no rows; give it data or leave the domain out.", path=domain.path)
    for held_out in spec.data.evaluation.values():
        load_table(held_out, encoder, spec.data.on_bad_row, most_rows=ROWS_LOOKED_AT)
