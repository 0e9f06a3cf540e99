"""`aft data preview`: what it asks for, and how rows look with and without colour."""

import json
import socket
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from aft_cli.main import app
from aft_cli.preview_view import preview_lines, row_text
from aft_contracts import DataPreview, PreviewRow, PreviewToken, SourcePreview
from tests.cli.conftest import Aft
from tests.cli.scripted_api import ScriptedApi

TOKENS = (("Q: ", False), ("1\x1b[31m", False), ("\nA: ", False), ("2", True), ("</s>", True))


def _row(**changes: object) -> PreviewRow:
    tokens = tuple(PreviewToken(id=n, text=text, carries_loss=loss) for n, (text, loss) in enumerate(TOKENS))
    fields = {
        "sample_id": "r1", "place": "a.jsonl, line 4", "weight": 1.0, "tokens": tokens, "loss_tokens": 2,
        "uncut_tokens": 5, "is_cut": False,
    }  # fmt: skip
    return PreviewRow.model_validate(fields | changes)


def _preview() -> DataPreview:
    chat = SourcePreview(
        rows=(_row(), _row(sample_id="r2", is_cut=True, uncut_tokens=9, weight=0.5)),
        rows_read=12,
        is_whole=True,
        skipped=1,
        bad_rows=("a.jsonl, line 7: found JSON of type int, expected a JSON object.",),
    )
    held = SourcePreview(rows=(), rows_read=1000, is_whole=False, skipped=0, bad_rows=())
    return DataPreview(domains={"chat": chat}, evaluation={"held": held})


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text("model: {path: m}\ndata: {domains: {chat: {path: rows.csv, columns: {text: body}}}}\n")
    return str(path)


def test_a_preview_marks_what_carries_loss(api: ScriptedApi, aft: Aft, config: str) -> None:
    api.preview = _preview()
    result = aft("data", "preview", config, "--rows", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        "What carries loss is between ⟦ and ⟧.\n"
        "\n"
        "domain chat: 1 bad among all 12 rows\n"
        "\n"
        "r1 (a.jsonl, line 4): 5 tokens, 2 carry loss\n"
        "Q: 1␛[31m\nA: ⟦2</s>⟧\n"
        "\n"
        "r2 (a.jsonl, line 4): 5 tokens, cut from 9, 2 carry loss, weight 0.5\n"
        "Q: 1␛[31m\nA: ⟦2</s>⟧\n"
        "bad row: a.jsonl, line 7: found JSON of type int, expected a JSON object.\n"
        "\n"
        "held out held: 0 bad among the first 1000 rows\n"
    )
    (asked,) = api.previews_asked
    assert (asked["rows"], asked["look_at"]) == (2, 1000)
    source = asked["spec"]["data"]["domains"]["chat"]
    assert (source["path"], source["columns"]["text"]) == (str(Path(config).parent / "rows.csv"), "body")


def test_a_terminal_gets_colours_instead_of_brackets() -> None:
    text = row_text(_row(), is_coloured=True)
    assert text.plain == "Q: 1␛[31m\nA: 2</s>"
    assert [(text.plain[span.start : span.end], span.style) for span in text.spans] == [
        ("Q: 1␛[31m\nA: ", "dim"),
        ("2</s>", "bold green"),
    ]
    console = Console(force_terminal=True, color_system="standard", width=100)
    with console.capture() as captured:
        for line in preview_lines(_preview(), is_coloured=True):
            console.print(line)
    assert "\x1b[1;32m2</s>\x1b[0m" in captured.get()
    assert "⟦" not in captured.get()


def test_json_is_the_whole_answer(api: ScriptedApi, aft: Aft, config: str) -> None:
    api.preview = _preview()
    assert json.loads(aft("data", "preview", config, "--json").stdout) == api.preview.model_dump(mode="json")


def test_a_refusal_is_shown(api: ScriptedApi, aft: Aft, config: str) -> None:
    result = aft("data", "preview", config)
    assert result.exit_code == 1
    assert "a.jsonl, line 3: no." in result.stderr
    assert "bad_row" in result.stderr


def test_without_a_service_the_remedy_is_named(config: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["--api", url, "data", "preview", config])
    assert result.exit_code == 1
    assert "aft up" in result.stderr


def test_a_wrong_config_is_a_screen_and_nothing_is_asked(api: ScriptedApi, aft: Aft, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: {path: m}\ndata: {domains: {chat: {path: a, format: xls}}}\n")
    result = aft("data", "preview", str(tmp_path / "run.yaml"))
    assert result.exit_code == 2
    assert "data.domains.chat.format" in result.stderr
    assert api.previews_asked == []
