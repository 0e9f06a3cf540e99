"""LangGraph's tables stop growing: the benchmark of their size, over fewer windows."""

from pathlib import Path

import pytest

from benchmarks.checkpoint_tables import LARGEST, sizes_mb

pytestmark = pytest.mark.anyio
WINDOWS = 2400
"""Four vacuums' worth: one comes every 25 prunes, a prune every 24 windows."""
VACUUM_MB = 0.7
"""What is left behind between two vacuums. One may pass by: it does not wait where Postgres's own is at work."""


@pytest.mark.slow
async def test_tables_stop_growing_far_below_five_megabytes(tmp_path: Path, database_url: str | None) -> None:
    sizes = await sizes_mb(database_url, tmp_path, windows=WINDOWS)
    half = len(sizes) // 2
    assert LARGEST.target == 5
    assert max(sizes) < LARGEST.target / 2, sizes
    assert max(sizes[half:]) < max(sizes[:half]) + VACUUM_MB, sizes
