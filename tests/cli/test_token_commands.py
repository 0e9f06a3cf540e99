"""`aft token`: without an API, and the token that every command sends."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aft_cli.error_screens import PROBLEM_EXIT
from aft_cli.main import app
from tests.cli.scripted_api import ScriptedApi


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """Runs commands on a fresh installation."""
    monkeypatch.setenv("AFT_DATA_DIR", str(tmp_path))
    return CliRunner()


def test_token_is_made_listed_and_revoked_on_a_fresh_installation(runner: CliRunner) -> None:
    made = runner.invoke(app, ["token", "create", "ada", "--role", "admin", "--days", "7", "--local", "--json"])
    assert made.exit_code == 0, made.output
    token, view = json.loads(made.stdout)["token"], json.loads(made.stdout)["view"]
    assert token.startswith(f"aft_{view['token_id']}_")
    assert (view["name"], view["role"]) == ("ada", "admin")
    listed = runner.invoke(app, ["token", "list", "--local", "--json"]).stdout
    assert [one["token_id"] for one in json.loads(listed)] == [view["token_id"]]
    assert token not in listed
    assert "is revoked" in runner.invoke(app, ["token", "revoke", view["token_id"], "--local"]).output
    table = runner.invoke(app, ["token", "list", "--local"]).output
    assert "revoked 20" in table


def test_an_unknown_token_is_said_to_be_unknown(runner: CliRunner) -> None:
    refused = runner.invoke(app, ["token", "revoke", "nobodys", "--local"])
    assert refused.exit_code == PROBLEM_EXIT
    assert "token_not_found" in refused.stderr


def test_plain_form_prints_the_token_alone_on_standard_output(runner: CliRunner) -> None:
    made = runner.invoke(app, ["token", "create", "ada", "--local"])
    assert made.stdout.startswith("aft_")
    assert made.stdout.count("\n") == 1
    assert "not shown again" in made.stderr


def test_every_command_sends_the_token_of_the_environment(
    api: ScriptedApi, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFT_TOKEN", "aft_x")
    runner.invoke(app, ["--api", api.url, "workers"])
    monkeypatch.delenv("AFT_TOKEN")
    runner.invoke(app, ["--api", api.url, "workers"])
    sent = [{name.lower(): value for name, value in one.items()}.get("authorization") for one in api.headers]
    assert sent == ["Bearer aft_x", None]
