"""Formats: which module reads a source."""

from collections.abc import Iterator
from pathlib import Path

from aft_contracts import DataFormat, SourceSpec
from aft_worker.data.errors import BadRow, DataFileMissing, DataFormatUnknown
from aft_worker.data.sources.delimited import read_csv
from aft_worker.data.sources.hugging_face import read_dataset
from aft_worker.data.sources.json_array import read_json
from aft_worker.data.sources.jsonl import read_jsonl
from aft_worker.data.sources.parquet import read_parquet
from aft_worker.data.sources.plain_text import read_text
from aft_worker.data.sources.raw import RawRow

ENDINGS = {
    "": DataFormat.JSONL,
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSON,
    ".parquet": DataFormat.PARQUET,
    ".pq": DataFormat.PARQUET,
    ".csv": DataFormat.CSV,
    ".tsv": DataFormat.CSV,
    ".txt": DataFormat.TEXT,
    ".text": DataFormat.TEXT,
    ".md": DataFormat.TEXT,
}
"""Formats by the ending of the file's name, in small letters."""


def format_of(source: SourceSpec) -> DataFormat:
    """The format that the config says, or else the one that the path shows.

    Raises:
        DataFormatUnknown: the file's ending is none of ours.
    """
    if source.format is not None:
        return source.format
    path = Path(source.path)
    if path.is_dir():
        return DataFormat.DATASET
    if path.suffix.lower() not in ENDINGS:
        raise DataFormatUnknown(
            f"{source.path!r} ends in {path.suffix!r}; say its `format`: {', '.join(DataFormat)}.", path=source.path
        )
    return ENDINGS[path.suffix.lower()]


def read_raw(source: SourceSpec, wanted: frozenset[str], *, streamed: bool = False) -> Iterator[RawRow | BadRow]:
    """Every row of a source in order, or what is wrong with it.

    `wanted` are the columns that a row shape may read; formats that keep columns apart read no others.

    Raises:
        DataFileMissing, DataFormatUnknown, DataFileUnreadable: there is nothing to read from.
    """
    kind = format_of(source)
    if kind is DataFormat.DATASET:
        return read_dataset(source, wanted, streamed=streamed)
    path = Path(source.path)
    if not path.is_file():
        raise DataFileMissing(source.path)
    match kind:
        case DataFormat.JSONL:
            return read_jsonl(path)
        case DataFormat.JSON:
            return read_json(path)
        case DataFormat.PARQUET:
            return read_parquet(path, wanted)
        case DataFormat.CSV:
            return read_csv(path, source.columns)
        case DataFormat.TEXT:
            return read_text(path, source.sample_by, source.columns.text or "text")
