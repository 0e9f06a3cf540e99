"""The demo's human: reads the question, waits a moment, and answers through the command line."""

import os
import subprocess
import sys
import time

from rich.console import Console

from aft_contracts import Review

READING_S = 3.0
ANSWER_TIMEOUT_S = 60.0


def approve(review: Review, api_url: str, console: Console) -> None:
    """Run `aft review approve`, as a person would.

    Raises:
        subprocess.CalledProcessError: the command was refused.
    """
    time.sleep(READING_S)
    arguments = ["review", "approve", review.review_id, "--message", "The demo's human agrees."]
    console.print(f"[bold yellow]$ aft {' '.join(arguments[:3])}[/]")
    answered = subprocess.run(
        [sys.executable, "-m", "aft_cli", *arguments],
        env=os.environ | {"AFT_API_URL": api_url},
        capture_output=True,
        text=True,
        timeout=ANSWER_TIMEOUT_S,
        check=False,
    )
    console.print(answered.stdout + answered.stderr, markup=False, highlight=False, end="")
    answered.check_returncode()
