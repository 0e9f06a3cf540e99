"""`python -m aft_cli` is `aft`."""

from aft_cli.main import app

app(prog_name="aft")
