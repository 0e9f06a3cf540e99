"""Parquet, read a batch at a time."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aft_worker.data.errors import BadRow, DataFileUnreadable
from aft_worker.data.sources.arrow import BATCH_ROWS, rows_of, wanted_columns
from aft_worker.data.sources.raw import RawRow


def read_parquet(path: Path, wanted: frozenset[str]) -> Iterator[RawRow | BadRow]:
    """Every row in file order; columns that no row shape knows are left alone.

    Raises:
        DataFileUnreadable: the file is not Parquet, or is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            columns = wanted_columns(file.schema_arrow.names, wanted)
            yield from rows_of(str(path), file.iter_batches(batch_size=BATCH_ROWS, columns=columns))
    except (pa.ArrowException, OSError) as error:
        raise DataFileUnreadable(
            f"{path} cannot be read as Parquet ({type(error).__name__}); write it again, or say its `format`.",
            path=str(path),
        ) from error
