"""docs/SETTINGS.md says what the settings say."""

import re
from pathlib import Path

from aft_api.settings import Settings
from aft_cli.settings_docs import settings_page
from aft_worker.settings import WorkerSettings

ROOT = Path(__file__).parents[2]


def listed() -> set[str]:
    return set(re.findall(r"^\| `(AFT_\w+)` \|", settings_page(), flags=re.MULTILINE))


def test_page_is_what_the_generator_writes_now() -> None:
    assert (ROOT / "docs/SETTINGS.md").read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def test_page_lists_every_setting() -> None:
    api = {f"AFT_{name.upper()}" for name in Settings.model_fields}
    worker = {f"AFT_WORKER_{name.upper()}" for name in WorkerSettings.model_fields}
    assert listed() == api | worker | {"AFT_API_URL", "AFT_TOKEN"}


def test_every_setting_that_the_code_or_a_page_names_is_listed() -> None:
    sources = [*(ROOT / "services").rglob("*.py"), *(ROOT / "cli").rglob("*.py"), *(ROOT / "docs").glob("*.md")]
    named = {name for path in sources for name in re.findall(r"\bAFT_[A-Z_]+[A-Z]\b", path.read_text(encoding="utf-8"))}
    assert named <= listed()


def test_every_setting_says_what_it_is_and_no_secret_has_a_default() -> None:
    rows = [line.split(" | ") for line in settings_page().splitlines() if line.startswith("| `AFT_")]
    assert [row[0] for row in rows if len(row) != 4 or len(row[3]) < 10] == []
    assert {row[2] for row in rows if row[1].startswith("secret")} == {"unset"}
