"""The ledger's columns, as Parquet keeps them."""

import pyarrow as pa

_NAME = pa.dictionary(pa.int32(), pa.string())

PRESENTATIONS = pa.schema(
    [
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("window", pa.int32(), nullable=False),
        pa.field("step", pa.int64(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("domain", _NAME, nullable=False),
        pa.field("loss", pa.float64(), nullable=False),
        pa.field("grad_norm", pa.float64(), nullable=False),
        pa.field("accuracy", pa.float64()),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("applied", pa.bool_(), nullable=False),
    ]
)
"""A row each time a sample was trained on. Losses are in nats per token; accuracy is null where nobody measured it."""

ROWS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("domain", _NAME, nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("line", pa.int64()),
    ]
)
"""A row for each row of the training data. Tokens are those that carry loss; line counts from 1, null if unknown."""
