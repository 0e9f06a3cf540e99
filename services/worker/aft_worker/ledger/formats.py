"""The report in the forms that other tools read."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from aft_contracts import ReportFormat, SampleOrder
from aft_worker.ledger.report import RunSamples, sample_table


@dataclass(frozen=True, kw_only=True)
class ReportQuery:
    """Which samples a report is about."""

    order: SampleOrder
    domain: str | None
    """None for all domains."""
    limit: int
    """Most samples that are listed; a picture shows all."""


def written(samples: RunSamples, query: ReportQuery, form: ReportFormat) -> bytes:
    """The report as a file of `form`.

    Raises:
        UnknownDomain: no sample of the domain was seen.
    """
    writers: dict[ReportFormat, Callable[[RunSamples, ReportQuery], bytes]] = {
        ReportFormat.JSON: _json,
        ReportFormat.CSV: _csv,
        ReportFormat.PARQUET: _parquet,
        ReportFormat.PNG: _png,
    }
    return writers[form](samples, query)


def _json(samples: RunSamples, query: ReportQuery) -> bytes:
    report = samples.report(order=query.order, domain=query.domain, limit=query.limit)
    return report.model_dump_json().encode()


def _csv(samples: RunSamples, query: ReportQuery) -> bytes:
    table = _table(samples, query)
    for name in ("lines", "duplicates"):
        # A cell holds one value: lists become JSON in it.
        cells = [json.dumps(value, ensure_ascii=False) for value in table[name].to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(cells, pa.string()))
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(table, sink)
    return bytes(sink.getvalue())


def _parquet(samples: RunSamples, query: ReportQuery) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(_table(samples, query), sink, compression="zstd")
    return bytes(sink.getvalue())


def _png(samples: RunSamples, query: ReportQuery) -> bytes:
    # Matplotlib takes a second to import, and most workers never draw.
    from aft_worker.ledger.picture import picture

    return picture(samples, samples.ranked(SampleOrder.SUSPICION, query.domain))


def _table(samples: RunSamples, query: ReportQuery) -> pa.Table:
    return sample_table(samples, samples.ranked(query.order, query.domain)[: query.limit])
