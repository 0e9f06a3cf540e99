"""docs/CONFIG.md says what the schema says."""

import re
from pathlib import Path

from pydantic import BaseModel

from aft_cli.config_docs import config_page
from aft_contracts import RunSpec

PAGE = Path(__file__).parents[2] / "docs" / "CONFIG.md"


def test_page_is_what_the_generator_writes_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == config_page(), "run `make docs`"


def test_page_lists_every_field_of_a_run() -> None:
    listed = set(re.findall(r"^\| `([^`]+)` \|", config_page(), flags=re.MULTILINE))
    spec = RunSpec.model_validate(
        {
            "model": {"path": "m"},
            "data": {"domains": {"NAME": {"path": "a"}}, "evaluation": {"NAME": "b"}},
            "notify": {"quiet_hours": {"start": "22:00", "end": "07:00"}, "escalation": {"webhooks": ["https://a"]}},
        }
    )
    sections = {name for name, value in spec if isinstance(value, BaseModel)}
    assert listed == _fields("", spec) - sections - {"data.domains.NAME", "data.evaluation.NAME"}


def _fields(prefix: str, value: object) -> set[str]:
    """Dotted names of everything in a spec."""
    name = {prefix.rstrip(".")} - {""}
    inner: list[tuple[str, object]] = []
    if isinstance(value, BaseModel):
        inner = list(value)
    elif isinstance(value, dict) and any(isinstance(entry, BaseModel) for entry in value.values()):
        inner = list(value.items())
    return name.union(*(_fields(f"{prefix}{key}.", entry) for key, entry in inner))
