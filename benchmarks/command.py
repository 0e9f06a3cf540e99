"""The command line that all benchmarks share."""

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import structlog
from rich.console import Console

from benchmarks.machine import machine
from benchmarks.report import Report

Measurement = Callable[[Report, argparse.Namespace], None]
"""Fills the report; `report.quick` asks for a smoke test."""


def run(
    name: str,
    measure: Measurement,
    *,
    summary: str | None = None,
    add_arguments: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:
    """Measures, prints the table, writes the file; the exit code is 1 only where `--check` was given and missed.

    A benchmark's module ends with
        if __name__ == "__main__":
            sys.exit(run("noun", measure, summary=__doc__))
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=summary)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and raw samples to FILE")
    parser.add_argument("--quick", action="store_true", help="a smoke test: few rounds, figures mean nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    if add_arguments is not None:
        add_arguments(parser)
    arguments = parser.parse_args()
    # The worker tells of every checkpoint; that would go in between the table's lines.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    report = Report(benchmark=name, machine=machine(), quick=arguments.quick)
    measure(report, arguments)
    console = Console()
    # Into a file Rich would wrap at 80 columns, which is too narrow for six.
    report.print_table(console if console.is_terminal else Console(width=130))
    if arguments.json is not None:
        report.write(arguments.json)
    return 1 if arguments.check and report.misses else 0


def say(text: str) -> None:
    """Tells on stderr how far a long benchmark is."""
    print(text, file=sys.stderr, flush=True)
