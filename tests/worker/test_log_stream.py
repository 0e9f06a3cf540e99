"""A log that cannot be written breaks nothing."""

import io
from pathlib import Path

import structlog

from aft_worker.log_stream import LogStream
from tests.worker.conftest import largest_file


def test_a_full_disk_loses_lines_and_raises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    with path.open("w") as file:
        log = structlog.PrintLogger(LogStream(file))  # type: ignore[arg-type]
        log.info("before")
        with largest_file(0):
            log.info("meanwhile")
        log.info("after")
    lines = path.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")


def test_a_closed_stream_raises_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    print("late", file=LogStream(stream), flush=True)
    assert stream.closed
