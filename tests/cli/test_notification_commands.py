"""`aft notifications`."""

from typing import Any

import pytest

from tests.cli.conftest import Aft
from tests.cli.scripted_api import AT, ScriptedApi

ONE = {
    "seq": 7, "notification_id": "r1_run_failed_end", "run_id": "r1", "kind": "run_failed", "channel": "webhook",
    "target": "https://a.example/hook", "state": "failed", "attempts": 10, "last_error": "answered 500",
    "created_at": AT.isoformat(),
}  # fmt: skip
LISTED = {"notifications": [ONE], "backlog": {"pending": 2, "failed": 1, "sent": 3, "oldest_pending_s": 61.2}}
TARGET = {"target_id": "abc", "channel": "webhook", "target": "https://a.example/hook", "reason": "answered 410"}


@pytest.fixture
def asked(api: ScriptedApi) -> list[Any]:
    """What was asked of a scripted outbox."""
    answers = {
        ("GET", "/notifications"): LISTED,
        ("POST", "/notifications/replay"): {"replayed": 4},
        ("POST", "/notifications/7/replay"): {**ONE, "state": "pending", "attempts": 0},
        ("GET", "/notifications/targets"): {"targets": [{**TARGET, "disabled_at": AT.isoformat()}]},
        ("POST", "/notifications/targets/abc/enable"): {"targets": []},
    }
    asked: list[Any] = []

    def answer(method: str, path: str, query: dict[str, str]) -> Any:
        asked.append((method, path, query))
        return answers.get((method, path))

    api.outbox = answer
    return asked


@pytest.mark.parametrize(
    ("arguments", "request_made", "shown"),
    [
        (("list",), ("GET", "/notifications", {"limit": "50"}),
         ["run_failed", "answered 500", "2 wait, the oldest for 61 s; 1 were given up, 3 arrived."]),
        (("list", "--failed", "--run", "r1"),
         ("GET", "/notifications", {"state": "failed", "run_id": "r1", "limit": "50"}), ["a.example"]),
        (("list", "--pending", "--json"), ("GET", "/notifications", {"state": "pending", "limit": "50"}),
         ['"oldest_pending_s": 61.2']),
        (("replay", "7"), ("POST", "/notifications/7/replay", {}), ["7: pending, to webhook https://a.example/hook"]),
        (("replay", "--failed"), ("POST", "/notifications/replay", {}), ["4 message(s) are tried again"]),
        (("targets",), ("GET", "/notifications/targets", {}), ["disabled since 2026-01-02", "answered 410"]),
        (("enable", "abc"), ("POST", "/notifications/targets/abc/enable", {}), ["abc: enabled"]),
    ],
)  # fmt: skip
def test_command_asks_and_says(aft: Aft, asked: list[Any], arguments: Any, request_made: Any, shown: Any) -> None:
    result = aft("notifications", *arguments)
    assert result.exit_code == 0, result.output
    assert asked == [request_made]
    assert [words for words in shown if words not in result.output] == []


@pytest.mark.parametrize("arguments", [("replay",), ("replay", "7", "--failed"), ("list", "--failed", "--pending")])
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    aft: Aft, asked: list[Any], arguments: tuple[str, ...]
) -> None:
    assert aft("notifications", *arguments).exit_code == 2
    assert asked == []
