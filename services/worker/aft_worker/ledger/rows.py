"""The table of a run's training rows: which content each id stands for, and where."""

import hashlib
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
        "content_hash": [content_hash(table, row) for row in range(len(table))],
        "tokens": (carried[starts[1:]] - carried[starts[:-1]]).astype(np.int32),
        "line": pa.nulls(len(table), pa.int64()),
    }
    return pa.table(columns, schema=ROWS)


def content_hash(table: TokenTable, row: int) -> str:
    """What the model sees of a row as 16 hex digits: its tokens, which of them carry loss, and its weight.

    Rows that differ only in what the cut or the tokenizer drops have the same hash: to the model they are the same.
    """
    start, end = table.starts[row], table.starts[row + 1]
    sha = hashlib.sha256(table.tokens[start:end].tobytes())
    sha.update(table.is_target[start:end].tobytes())
    sha.update(table.weights[row].tobytes())
    return sha.hexdigest()[:16]
