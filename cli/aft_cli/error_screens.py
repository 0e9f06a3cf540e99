"""Turns what goes wrong into one screen and an exit code: 2 for a config, 1 for everything else."""

from typing import Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from aft_cli.config_file import ConfigError
from aft_cli.errors import ApiError
from aft_contracts import Problem

PROBLEM_EXIT = 1
CONFIG_EXIT = 2


class ErrorScreens(TyperGroup):
    """A command group whose errors are shown instead of thrown."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes a screen on stderr and an exit code."""
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            Console(stderr=True).print(config_screen(error))
            raise typer.Exit(CONFIG_EXIT) from error
        except ApiError as error:
            Console(stderr=True).print(problem_screen(error.problem))
            raise typer.Exit(PROBLEM_EXIT) from error


def config_screen(error: ConfigError) -> Panel:
    """Every field that cannot be used: its name, what was given, what was expected."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
    for column in ("field", "given", "expected"):
        table.add_column(column, overflow="fold")
    for fault in error.faults:
        table.add_row(Text(fault.field, style="bold"), Text(fault.given, style="red"), Text(fault.expected))
    count = f"{len(error.faults)} field{'s' if len(error.faults) > 1 else ''} cannot be used"
    return Panel(
        table, title=Text(f"{error.source}: {count}"), subtitle="docs/CONFIG.md lists every field", border_style="red"
    )


def problem_screen(problem: Problem) -> Panel:
    """A problem: its title, its words, its code."""
    return Panel(Text(problem.detail), title=Text(problem.title), subtitle=Text(problem.code), border_style="red")
