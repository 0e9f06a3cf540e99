"""The table of a run's training rows: which content each id stands for, and where."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from aft_worker.data.table import TokenTable
from aft_worker.ledger.schema import ROWS


def rows_table(tables: Mapping[str, TokenTable]) -> pa.Table:
    """A line for each row of each domain, domains by name and rows in file order."""
    parts = [_domain_rows(name, tables[name]) for name in sorted(tables)]
    return pa.concat_tables([ROWS.empty_table(), *parts], promote_options="none").unify_dictionaries()


def _domain_rows(name: str, table: TokenTable) -> pa.Table:
    starts, is_target = table.starts, table.is_target
    carried = np.concatenate([[0], np.cumsum(is_target)])
    columns = {
        "sample_id": pa.array(table.sample_ids, pa.string()),
        "domain": pa.array([name] * len(table), pa.string()).dictionary_encode(),
        "content_hash": pa.array(table.content_hashes, pa.string()),
        "tokens": (carried[starts[1:]] - carried[starts[:-1]]).astype(np.int32),
        "line": pa.nulls(len(table), pa.int64()) if table.lines is None else table.lines,
    }
    return pa.table(columns, schema=ROWS)
