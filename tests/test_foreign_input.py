"""Every parser of what strangers send takes anything, and answers in the words that it promises or not at all."""

import asyncio
import contextlib
import json
import math
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save

from aft_api.access.rules import need_of
from aft_api.notify.message import Notification
from aft_api.notify.parcel import Parcel
from aft_api.notify.retry_after import LONGEST_S, retry_after_s
from aft_api.notify.slack import SlackClient, SlackSender
from aft_api.notify.slack_interaction import BadSlackSignature, UnreadableSlackClick, parse, verify
from aft_api.reviews.agent_inbox import UnreadableResponse, command_of, command_of_decision
from aft_api.worker_client import WorkerClient, WorkerFailure, worker_session
from aft_cli.config_file import ConfigError, read_spec
from aft_contracts import (
    EventKind,
    HumanDecisions,
    HumanResponse,
    JobView,
    LoadedRun,
    Repair,
    RunSpec,
    WindowResult,
    WorkerInfo,
)
from aft_worker.data.chat_template import ChatTemplate
from aft_worker.data.encoder import load_encoder
from aft_worker.data.template_files import load_chat_template
from aft_worker.errors import WorkerError
from aft_worker.model.config_file import read_config
from aft_worker.model.families import FAMILIES
from aft_worker.model.weight_files import WeightFiles
from tests.answering import answering
from tests.api.reviews.examples import question

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
DEEP = b"[" * 5_000
BYTES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(DEEP)
quick = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of the fields that a parser looks for, with anything in them."""
    return st.dictionaries(st.sampled_from(names), JSON, max_size=len(names))


@quick
@given(
    st.text(max_size=60) | st.floats().map(str) | st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S"))
)
@example("Thu, 01 Jan 99999 00:00:00 GMT")
@example("Thu, 01 Jan 1970 00:00:00 +9999999999")
@example("1e999")
def test_retry_after(value: str) -> None:
    wait_s = retry_after_s({"Retry-After": value}, NOW)
    assert wait_s is None or (math.isfinite(wait_s) and 0 <= wait_s <= LONGEST_S)


@quick
@given(
    st.binary(max_size=300),
    st.dictionaries(st.sampled_from(["x-slack-signature", "x-slack-request-timestamp"]), st.text()),
)
def test_slack_signature(body: bytes, headers: Mapping[str, str]) -> None:
    with pytest.raises(BadSlackSignature):
        verify(body, headers, "secret", NOW)


def objects(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with these fields, some of them missing or something else; or something else altogether."""
    return st.fixed_dictionaries({}, optional={name: part | JSON for name, part in parts.items()}) | JSON


SOME_ID = st.sampled_from(["r1", "U1", "C1"])
ACTION_ID = st.sampled_from(["aft_approve", "aft_edit", "aft_reject", "another"])
CHOICE = objects(choice=objects(choice=objects(selected_option=objects(value=st.text(max_size=9)))))
CLICK = objects(
    type=st.sampled_from(["block_actions", "view_submission"]),
    user=objects(id=SOME_ID),
    channel=objects(id=SOME_ID),
    actions=st.lists(objects(action_id=ACTION_ID, value=SOME_ID, url=st.just("http://aft")), max_size=2),
    view=objects(callback_id=ACTION_ID, private_metadata=SOME_ID, state=objects(values=CHOICE)),
)
PRESSED = {"user": {"id": "U1"}, "actions": [{"action_id": "aft_reject", "value": "r1"}]}


@quick
@given(BYTES | CLICK.map(lambda value: f"payload={quote_plus(json.dumps(value))}".encode()))
@example(b"payload=" + DEEP)
@example(f"payload={quote_plus(json.dumps(PRESSED))}".encode())
def test_slack_payload(body: bytes) -> None:
    with contextlib.suppress(UnreadableSlackClick):
        click = parse(body)
        assert click is None or (click.review_id and click.user_id)
        assert click is None or click.choice in {"approve", "reject", None} or click.channel is None


@quick
@given(
    BYTES | fields("ok", "ts", "channel", "error").map(lambda value: json.dumps(value).encode()), st.integers(200, 599)
)
@example(b'{"ok": true, "ts": 1, "channel": null}', 200)
def test_answer_of_slack(content: bytes, status: int) -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Keep the test's output for the test."""

    message = Notification(
        notification_id="n", kind=EventKind.RUN_SUCCEEDED, run_id="r", run_name="r", at=NOW, text="ended"
    )
    with answering(Answering) as url:
        delivery = asyncio.run(SlackSender(SlackClient("xoxb", url)).send(Parcel(address="C1", message=message)))
    assert delivery.receipt is None or delivery.receipt.keys() == {"channel", "ts"}


EDITED = st.dictionaries(st.sampled_from([*Repair.model_fields, "speed"]), JSON | st.text(max_size=9), max_size=4)
ACTION = st.sampled_from(["apply_repair", "go_on", "another"])
RESPONSE = objects(
    type=st.sampled_from(["accept", "ignore", "response", "edit"]),
    args=st.text(max_size=9) | objects(action=ACTION, args=EDITED),
)
DECISION = objects(
    type=st.sampled_from(["approve", "edit", "reject", "respond"]),
    message=st.text(max_size=9),
    edited_action=objects(name=ACTION, args=EDITED),
)


@quick
@given(RESPONSE, st.booleans())
@example({"type": "edit", "args": {"action": "apply_repair", "args": {"blacklist": "[" * 5_000}}}, False)
def test_answer_of_an_inbox(sent: Any, is_proposed: bool) -> None:
    review = question() if is_proposed else question(proposal=None)
    with contextlib.suppress(ValidationError, UnreadableResponse):
        assert command_of(review, HumanResponse.model_validate(sent)).review_id == review.review_id


@quick
@given(DECISION, st.booleans())
@example({"type": "edit", "edited_action": {"name": "apply_repair", "args": {"lr_factor": "1e999"}}}, True)
def test_decision_of_langchains_middleware(sent: Any, is_proposed: bool) -> None:
    review = question() if is_proposed else question(proposal=None)
    with contextlib.suppress(ValidationError, UnreadableResponse):
        [decision] = HumanDecisions.model_validate({"decisions": [sent]}).decisions
        assert command_of_decision(review, decision).review_id == review.review_id


@quick
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | fields(*RunSpec.model_fields).map(
    lambda value: json.dumps(value).encode()))  # fmt: skip
@example(DEEP)
@example(b"a: &a [*a]")
@example(b"model: {path: '\\0'}\ndata: {domains: {a: {path: x}}}")
def test_config_file(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content)
        with contextlib.suppress(ConfigError):
            assert read_spec(path).name


ANSWER = fields(*WorkerInfo.model_fields, *JobView[WindowResult].model_fields).map(
    lambda value: json.dumps(value).encode()
)


@quick
@given(
    BYTES | ANSWER,
    st.sampled_from([200, 202, 204, 302, 404, 500]),
    st.sampled_from(["application/json", "application/problem+json", "text/html", "", "application/json; charset=x"]),
)
def test_answer_of_a_worker(content: bytes, status: int, media_type: str) -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=content, headers={"content-type": media_type})

    async def ask() -> None:
        async with RawTestServer(answer) as server, worker_session(None) as http:
            client = WorkerClient(http, str(server.make_url("")))
            asked = (
                (client.info(), WorkerInfo),
                (client.get("windows", "r:0:1"), JobView),
                (client.loaded("r"), LoadedRun),
            )
            for question, kind in asked:
                with contextlib.suppress(WorkerFailure):
                    assert isinstance(await question, kind)

    asyncio.run(ask())


CONFIG = fields(
    "hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "rope_scaling", "rope_parameters",
    "intermediate_size", "num_key_value_heads", "hidden_act", "layer_types", "sliding_window", "head_dim",
)  # fmt: skip


@quick
@given(
    BYTES
    | st.builds(
        lambda kind, rest: json.dumps({"model_type": kind, **rest}).encode(),
        st.sampled_from([*FAMILIES, "gemma3"]),
        CONFIG,
    )
)
def test_config_of_a_model(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(content)
        with contextlib.suppress(WorkerError):
            assert read_config(Path(folder)).heads > 0


@quick
@given(
    BYTES,
    BYTES | fields("chat_template", "eos_token", "bos_token").map(lambda value: json.dumps(value).encode()),
    BYTES,
)
def test_tokenizer_and_its_config(tokenizer: bytes, config: bytes, template: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer.json").write_bytes(tokenizer)
        (folder / "tokenizer_config.json").write_bytes(config)
        (folder / "chat_template.json").write_bytes(template)
        with contextlib.suppress(WorkerError):
            load_encoder(folder, max_length=8)
        with contextlib.suppress(WorkerError):
            assert isinstance(load_chat_template(folder, {}), ChatTemplate)


WEIGHTS = save({"w": np.zeros(4, np.float32)})


@quick
@given(
    st.binary(max_size=200)
    | st.tuples(st.integers(0, len(WEIGHTS) - 1), st.integers(0, 255)).map(
        lambda at: WEIGHTS[: at[0]] + bytes([at[1]]) + WEIGHTS[at[0] + 1 :]
    )
    | st.integers(0, len(WEIGHTS)).map(lambda end: WEIGHTS[:end])
)
def test_weights(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors").write_bytes(content)
        with contextlib.suppress(WorkerError):
            assert WeightFiles(Path(folder)).read("w", (4,)).shape == (4,)


@quick
@given(BYTES | fields("weight_map").map(lambda value: json.dumps(value).encode()))
def test_index_of_weights(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors.index.json").write_bytes(content)
        with pytest.raises(WorkerError):  # there is no file that it could name
            WeightFiles(Path(folder)).read("w", (4,))


@given(st.text(max_size=10), st.text(max_size=60))
def test_any_method_and_path_has_a_need(method: str, path: str) -> None:
    assert need_of(method, path) is not None
