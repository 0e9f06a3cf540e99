"""A ledger's file: a Parquet table under a seal, which breaks with any byte of it."""

import hashlib

import pyarrow as pa
import pyarrow.parquet as pq

# Parquet's own checksums leave out the footer and the headers of pages, so the footer also holds a digest of the file.
_SEAL = b"aft ledger sha256 "
_DIGITS = 64


def file_of(table: pa.Table) -> bytes:
    """The table as a file; the same table gives the same bytes."""
    sink = pa.BufferOutputStream()
    # Figures hardly repeat; only names are worth a dictionary, and small files gain nothing from statistics.
    names = ["sample_id", "domain"]
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", use_dictionary=names, write_statistics=False, write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"seal": _SEAL.decode() + _DIGITS * "0"})
    return _sealed(bytes(sink.getvalue()))


def table_of(content: bytes, schema: pa.Schema) -> pa.Table | None:
    """The table that a file holds; None where the file is damaged.

    A file without a seal is older than seals: of its damages only those are noticed that Parquet or `schema` shows.
    """
    if _sealed(content) != content:
        return None
    try:
        table = pq.read_table(
            pa.BufferReader(content), schema=schema, use_threads=False, page_checksum_verification=True
        )
        table.validate(full=True)
        return table.cast(schema)
    # Nothing here reads the disk: an OSError is how pyarrow calls bytes that make no sense. ValueErrors are the cast's.
    except (pa.ArrowException, OSError, ValueError):
        return None


def _sealed(content: bytes) -> bytes:
    """The file with the digest of all its other bytes in its seal; as it is where it has none."""
    before, seal, after = content.rpartition(_SEAL)
    if not seal:
        return content
    rest = after[_DIGITS:]
    return before + seal + hashlib.sha256(before + rest).hexdigest().encode() + rest
