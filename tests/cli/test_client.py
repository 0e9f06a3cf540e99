"""The typed client: values in, values out, one kind of error."""

import math
import socket

import httpx
import pytest

from aft_cli.client import AftClient
from aft_cli.errors import ApiError
from aft_contracts import EventKind, Pause, StepRecord
from tests.cli.scripted_api import ScriptedApi, run_view


def _step(step: int, loss: float = 1.0) -> StepRecord:
    return StepRecord(step=step, loss=loss, grad_norm=1.0, lr=1e-4, clip_norm=1.0, tokens=8, applied=True, seconds=0.1)


def test_run_comes_back_whole(api: ScriptedApi) -> None:
    with AftClient(api.url) as client:
        assert client.run("r1") == api.runs["r1"]
        created = client.create_run(run_view("x").spec)
    assert api.runs[created.run_id] == created


def test_figure_that_is_not_finite_survives_the_wire(api: ScriptedApi) -> None:
    api.steps = [_step(0, math.nan), _step(1, math.inf), _step(2)]
    with AftClient(api.url) as client:
        losses = [step.loss for step in client.steps("r1")]
        assert [step.step for step in client.steps("r1", after=1)] == [2]
    assert math.isnan(losses[0])
    assert losses[1:] == [math.inf, 1.0]


def test_events_are_asked_for_from_a_number_on(api: ScriptedApi) -> None:
    api.happen(EventKind.RUN_CREATED, "created")
    api.happen(EventKind.RUN_STARTED, "started")
    with AftClient(api.url) as client:
        assert [event.message for event in client.events("r1", after=1, wait_s=0.1)] == ["started"]


def test_command_says_who_asks_and_carries_its_key(api: ScriptedApi) -> None:
    with AftClient(api.url, user="ann") as client:
        client.send("r1", Pause(), idempotency_key="k1")
    sent = {name.lower(): value for name, value in api.headers[-1].items()}
    assert (sent["x-aft-user"], sent["x-aft-channel"], sent["idempotency-key"]) == ("ann", "cli", "k1")


def test_refusal_is_a_problem_with_its_code(api: ScriptedApi) -> None:
    with AftClient(api.url) as client, pytest.raises(ApiError) as refused:
        client.run("nobody")
    assert (refused.value.problem.code, refused.value.problem.status) == ("run_not_found", 404)
    assert not refused.value.is_passing


def test_silence_names_the_address_and_the_remedy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers, and nobody else can take it
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with AftClient(url) as client, pytest.raises(ApiError) as silent:
            client.runs()
    assert silent.value.is_passing
    assert url in silent.value.problem.detail
    assert "aft up" in silent.value.problem.detail


@pytest.mark.parametrize(
    ("status", "body"), [(502, "<html>Bad gateway</html>"), (200, "welcome"), (200, '{"runs": [1]}')]
)
def test_stranger_at_the_address_is_said_to_be_one(status: int, body: str) -> None:
    stranger = httpx.MockTransport(lambda _: httpx.Response(status, text=body))
    with AftClient("http://127.0.0.1:9", transport=stranger) as client, pytest.raises(ApiError) as strange:
        client.runs()
    assert strange.value.problem.code == "unexpected_answer"
