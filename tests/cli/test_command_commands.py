"""`aft command`: every command by its fields, and the list of what a run was told."""

import json
from typing import Any

import pytest

from aft_cli.command_commands import KINDS
from aft_contracts import CommandRecord, CommandStatus, Problem, SetLearningRate
from tests.cli.conftest import Aft
from tests.cli.scripted_api import AT, ScriptedApi

REPAIR = {"kind": "adjust", "lr_factor": 0.5, "reasons": ["Gently."]}
NO_WORDS: dict[str, Any] = {"review_id": None, "message": ""}
EVERY_COMMAND: list[tuple[list[str], dict[str, Any]]] = [
    (["pause"], {"kind": "pause"}),
    (["stop", "message=enough"], {"kind": "stop", **NO_WORDS, "message": "enough"}),
    (["resume"], {"kind": "resume", "review_id": None, "answer": "approve", "repair": None, "message": ""}),
    (["set_lr", "learning_rate=1e-5"], {"kind": "set_lr", "learning_rate": 1e-5, "rewarmup_steps": 0}),
    (["set_grad_clip", "max_norm=0.5"], {"kind": "set_grad_clip", "max_norm": 0.5}),
    (["skip_batch", "--json", '{"step": 9}'], {"kind": "skip_batch", "step": 9}),
    (["blacklist_samples", "sample_ids=17,b"], {"kind": "blacklist_samples", "sample_ids": ["17", "b"]}),
    (["unblacklist_samples", "sample_ids=17,b"], {"kind": "unblacklist_samples", "sample_ids": ["17", "b"]}),
    (["set_mix", 'weights={"chat": 2}'], {"kind": "set_mix", "weights": {"chat": 2.0}}),
    (["rollback", "step=0"], {"kind": "rollback", "step": 0}),
    (["approve", "message=3"], {"kind": "approve", **NO_WORDS, "message": "3"}),
    (["reject"], {"kind": "reject", **NO_WORDS}),
    (["respond", "message=a=b"], {"kind": "respond", **NO_WORDS, "message": "a=b"}),
    (["edit", f"repair={json.dumps(REPAIR)}"], {"kind": "edit", **NO_WORDS, "repair": REPAIR}),
]


@pytest.mark.parametrize(("arguments", "sent"), EVERY_COMMAND, ids=[arguments[0] for arguments, _ in EVERY_COMMAND])
def test_every_command_is_sent(api: ScriptedApi, aft: Aft, arguments: list[str], sent: dict[str, Any]) -> None:
    result = aft("command", "r1", *arguments, "--key", "k")
    assert result.exit_code == 0, result.stderr
    [got] = api.commands
    if sent.get("repair"):
        got["repair"] = {name: got["repair"][name] for name in sent["repair"]}
    assert got == sent
    assert "pending" in result.stdout
    assert api.headers[-1]["Idempotency-Key"] == "k"


def test_no_command_is_forgotten() -> None:
    assert {arguments[0] for arguments, _ in EVERY_COMMAND} == set(KINDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["dance"], ["kind", "'dance'", "'set_lr'"]),
        (["set_lr", "--json", '{"learning_rate": 0}'], ["learning_rate", "0", "greater than 0"]),
        (["set_lr", "learning_rate=fast"], ["learning_rate", "'fast'", "a valid number"]),
        (["set_lr", "1e-5"], ["1e-5", "NAME=VALUE"]),
        (["set_lr", "rate=1"], ["learning_rate", "nothing", "rate"]),
        (["skip_batch"], ["step", "nothing"]),
        (["set_lr", "--json", "{"], ["--json", "a JSON object"]),
        (["set_lr", "--json", "[1]"], ["--json", "a JSON object"]),
    ],
)
def test_command_that_cannot_be_is_refused_here(
    api: ScriptedApi, aft: Aft, arguments: list[str], words: list[str]
) -> None:
    result = aft("command", "r1", *arguments)
    assert result.exit_code == 2
    assert [word for word in words if word not in result.stderr] == []
    assert api.commands == []


def test_what_a_run_was_told_is_listed(api: ScriptedApi, aft: Aft) -> None:
    told = CommandRecord(
        seq=1, command_id="c1", run_id="r1", command=SetLearningRate(learning_rate=1e-5), status=CommandStatus.APPLIED,
        outcome="holds from step 20", applied_step=20, given_by="ann", channel="cli", created_at=AT, settled_at=AT,
    )  # fmt: skip
    late = Problem(title="Late", status=409, code="run_finished", detail="Too late.")
    refused = {"seq": 2, "status": CommandStatus.REFUSED, "outcome": "Too late.", "problem": late, "given_by": "bob"}
    api.told = [told, told.model_copy(update=refused)]
    shown = aft("command", "list", "r1").stdout
    for words in ("set_lr learning_rate=1e-05", "ann", "cli", "holds from step 20", "bob", "Too late. [run_finished]"):
        assert words in shown
    assert [one["seq"] for one in json.loads(aft("command", "list", "r1", "--json").stdout)] == [1, 2]


def test_help_names_the_commands_and_how_to_give_them(aft: Aft) -> None:
    shown = aft("command", "--help").stdout
    assert [words for words in ("aft command RUN", "set_grad_clip", "list") if words not in shown] == []
