"""Commands that run aft's services on this machine."""

import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from aft_cli.error_screens import ErrorScreens
from aft_cli.errors import local_problem
from aft_cli.launcher import LocalStack, StackPlan

DEFAULT_DATA_DIR = Path(".aft")
TEND_S = 0.3

HostOption = Annotated[str | None, typer.Option(help="Address to listen on.")]
PortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]

db = typer.Typer(cls=ErrorScreens, no_args_is_help=True, help="The API's database.")


def up(
    data_dir: Annotated[Path, typer.Option(help="Folder for everything that is kept.")] = DEFAULT_DATA_DIR,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: PortOption = None,
    worker_port: PortOption = None,
) -> None:
    """Run an API and a worker on this machine until Ctrl-C."""
    require("aft_api", "api")
    require("aft_worker", "worker")
    signal.signal(signal.SIGTERM, _as_interrupt)
    console = Console()
    plan = StackPlan(data_dir=data_dir, host=host, api_port=port, worker_port=worker_port)
    try:
        with LocalStack(plan) as stack:
            console.print(
                f"api     {stack.api_url}\nworker  {stack.worker_url}\ndata    {stack.data_dir}", highlight=False
            )
            console.print(f"Other commands find it with: export AFT_API_URL={stack.api_url}", highlight=False)
            while True:
                stack.tend(say=console.print)
                time.sleep(TEND_S)
    except KeyboardInterrupt:
        console.print("Stopped.")


def serve(host: HostOption = None, port: PortOption = None) -> None:
    """Run the API in the foreground; AFT_* variables hold its other settings."""
    require("aft_api", "api")
    _become("aft_api", AFT_HOST=host, AFT_PORT=port)


def worker(host: HostOption = None, port: PortOption = None) -> None:
    """Run a worker in the foreground; AFT_WORKER_* variables hold its other settings."""
    require("aft_worker", "worker")
    _become("aft_worker", AFT_WORKER_HOST=host, AFT_WORKER_PORT=port)


@db.command("upgrade")
def upgrade(
    url: Annotated[str | None, typer.Option(help="Database URL; AFT_DATABASE_URL or a SQLite file otherwise.")] = None,
) -> None:
    """Create the tables, or bring them to the newest revision."""
    require("aft_api", "api")
    # Imported here: the CLI also works where the API is not installed.
    from aft_api.db.migrate import upgrade as upgrade_tables
    from aft_api.settings import Settings

    settings = Settings()
    upgrade_tables(url or settings.database_url, settings.data_dir)
    typer.echo("The database is at the newest revision.")


def _become(module: str, **settings: str | int | None) -> None:
    # Replaces this process: signals and the exit code are then the service's own.
    chosen = {name: str(value) for name, value in settings.items() if value is not None}
    os.execve(sys.executable, [sys.executable, "-m", module], os.environ | chosen)  # noqa: S606 - no shell is wanted


def require(package: str, extra: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise local_problem(
            "extra_missing",
            f"The {extra} is not installed",
            f"This command needs the package {package}. Install it with: pip install 'aft[{extra}]'",
        )


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
