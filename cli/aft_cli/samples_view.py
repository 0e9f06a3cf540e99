"""A report of samples on the terminal."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aft_contracts import SampleReport, SamplesReport

COLUMNS = (
    "suspicion", "seen", "loss", "last", "confidence", "variability", "correct", "forgot", "grad norm", "alike"
)  # fmt: skip


def samples_view(report: SamplesReport) -> RenderableType:
    """The samples, one a line, below what the report covers."""
    table = Table(box=None)
    table.add_column("sample", no_wrap=True, overflow="ignore")
    table.add_column("domain", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for sample in report.samples:
        table.add_row(Text(sample.sample_id), Text(sample.domain), *_cells(sample), _remarks(sample))
    return Group(*_head(report), table)


def _head(report: SamplesReport) -> list[Text]:
    rows = "" if report.rows is None else f" of {report.rows:,} rows"
    lines = [
        Text(
            f"{report.run_id}: {report.seen:,} samples seen{rows}, {report.presentations:,} presentations up to step "
            f"{report.step:,}; {len(report.samples):,} of {report.matching:,} shown",
            style="bold",
        )
    ]
    if report.steps_recorded < report.step:
        missing = report.step - report.steps_recorded
        lines.append(Text(f"The ledger lacks {missing:,} of these steps: their samples are not counted.", "yellow"))
    return lines


def _cells(sample: SampleReport) -> tuple[Text | str, ...]:
    suspicion = Text(f"{sample.suspicion:+.2f}", style="red" if sample.suspicion > 0 else "")
    return (
        suspicion,
        f"{sample.times_seen}",
        _figure(sample.mean_loss),
        _figure(sample.last_loss),
        f"{sample.confidence:.3f}",
        f"{sample.variability:.3f}",
        "" if sample.correctness is None else f"{sample.correctness:.2f}",
        f"{sample.forgetting_events}",
        _figure(sample.mean_grad_norm),
        f"{sample.duplicate_rows}" if sample.duplicate_rows else "",
    )


def _remarks(sample: SampleReport) -> Text:
    words = [
        *(["banned"] if sample.blacklisted else []),
        *([f"withheld {sample.withheld}x"] if sample.withheld else []),
    ]
    return Text(", ".join(words), style="yellow")


def _figure(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)
