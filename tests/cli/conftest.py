"""A scripted API and the command line that talks to it."""

from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner, Result

from aft_cli.main import app
from tests.cli.scripted_api import ScriptedApi, run_view, serving

Aft = Callable[..., Result]


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """An API with one running run, `r1`."""
    with serving(ScriptedApi(runs={"r1": run_view("r1")})) as served:
        yield served


@pytest.fixture
def aft(api: ScriptedApi) -> Aft:
    """`aft("status", "r1")` runs the command line against the scripted API."""
    runner = CliRunner(env={"AFT_API_URL": api.url, "COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, list(arguments))
