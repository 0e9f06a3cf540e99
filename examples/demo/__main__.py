"""`python -m examples.demo`: the whole loop on a real model, from poisoned data to a healed adapter."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from rich.console import Console

from aft_cli.client import AftClient
from aft_cli.error_screens import problem_screen
from aft_cli.errors import ApiError
from aft_cli.launcher import LocalStack, StackPlan
from aft_cli.live_view import show
from aft_cli.run_watch import RunPicture, follow
from aft_contracts import RunSpec, RunStatus
from examples.demo.dataset import write_data
from examples.demo.reviewer import approve
from examples.demo.run_spec import demo_spec
from examples.demo.summary import print_summary, read_outcome, repair_events
from examples.smollm2.convert import convert, default_dir

REPOSITORY = Path(__file__).resolve().parents[2]
ANY_FREE_PORT = 0


def main() -> int:
    """The demo's exit code: 0 if the run succeeded."""
    console = Console()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        return _demonstrate(console)
    except ApiError as error:
        console.print(problem_screen(error.problem))
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return 130


def _demonstrate(console: Console) -> int:
    """Prepare, train, heal, and tell."""
    started_s = time.monotonic()
    model_dir = convert()
    data = write_data(default_dir().parent / "demo", model_dir)
    _say(console, f"model {model_dir}", *(f"data  {path}" for path in data.training.values()))
    plan = StackPlan(
        # A folder of its own: a demo that was broken off would otherwise be taken up again beside the new one.
        data_dir=REPOSITORY / ".aft" / "demo" / time.strftime("%Y%m%d-%H%M%S"),
        api_port=ANY_FREE_PORT,
        worker_port=ANY_FREE_PORT,
        environment={"AFT_WORKER_JAX_CACHE_DIR": str(default_dir().parent / "jax")},
    )
    with LocalStack(plan) as stack, AftClient(stack.api_url, user="demo", channel="api") as client:
        _say(console, f"api   {stack.api_url}", f"logs  {stack.data_dir / 'logs'}")
        last = _train(client, stack, demo_spec(model_dir, data), console)
        wall_s = time.monotonic() - started_s
        outcome = read_outcome(client, last.run, data.answer_key, repair_events(last.events), wall_s)
    print_summary(outcome, console)
    return 0 if last.run.status is RunStatus.SUCCEEDED else 1


def _train(client: AftClient, stack: LocalStack, spec: RunSpec, console: Console) -> RunPicture:
    run_id = client.create_run(spec).run_id
    answered: set[str] = set()
    picture: RunPicture | None = None
    for picture in show(follow(client, run_id), console):
        stack.tend(say=console.print)
        if picture.review is not None and picture.review.decision is None and picture.review.review_id not in answered:
            approve(picture.review, stack.api_url, console)
            answered.add(picture.review.review_id)
    assert picture is not None, "follow() gives at least one picture"
    return picture


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
