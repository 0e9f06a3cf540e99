"""How a run looks while it is watched: a live screen on a terminal, plain lines elsewhere."""

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from aft_cli.review_panel import review_panel
from aft_cli.run_watch import RunPicture
from aft_cli.sparkline import sparkline
from aft_contracts import Event, EventKind, RunStatus, StepRecord

EVENTS_SHOWN = 9
STATUS_STYLES = {
    RunStatus.QUEUED: "dim",
    RunStatus.RUNNING: "cyan",
    RunStatus.PAUSED: "yellow",
    RunStatus.WAITING: "bold yellow",
    RunStatus.SUCCEEDED: "bold green",
    RunStatus.FAILED: "bold red",
    RunStatus.STOPPED: "magenta",
}
EVENT_STYLES = {
    EventKind.ANOMALY_DETECTED: "red",
    EventKind.DIAGNOSED: "magenta",
    EventKind.REPAIR_CHOSEN: "green",
    EventKind.REVIEW_REQUESTED: "bold yellow",
    EventKind.REVIEW_DECIDED: "yellow",
    EventKind.REVIEW_OVERDUE: "bold red",
    EventKind.RUN_FAILED: "bold red",
    EventKind.RUN_SUCCEEDED: "bold green",
    EventKind.WINDOW_FAILED: "red",
    EventKind.JOB_FAILED: "red",
    EventKind.WORKER_UNREACHABLE: "red",
    EventKind.WINDOW_COMMITTED: "dim",
}


def show(pictures: Iterable[RunPicture], console: Console) -> Iterator[RunPicture]:
    """Show each picture as it comes, and pass it on."""
    return _on_screen(pictures, console) if console.is_terminal else _as_lines(pictures, console)


def screen(picture: RunPicture) -> RenderableType:
    """One picture as a screen."""
    parts: list[RenderableType] = [_figures(picture), _events(picture.events)]
    if picture.review is not None:
        parts.append(review_panel(picture.review))
    return Group(*parts)


def step_line(step: StepRecord) -> str:
    """One step in a line."""
    update = "applied" if step.applied else f"withheld: {step.withheld or 'unknown'}"
    return (
        f"step {step.step:>5}  loss {step.loss:8.4f}  grad norm {step.grad_norm:9.3g}  lr {step.lr:.2e}  "
        f"{step.seconds:5.2f} s  {update}"
    )


def event_line(event: Event) -> str:
    """One event in a line."""
    at_step = "" if event.step is None else f"step {event.step}: "
    return f"{event.at:%H:%M:%S}  {event.kind:<18}  {at_step}{event.message}"


def _on_screen(pictures: Iterable[RunPicture], console: Console) -> Iterator[RunPicture]:
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for picture in pictures:
            live.update(screen(picture), refresh=True)
            yield picture


def _as_lines(pictures: Iterable[RunPicture], console: Console) -> Iterator[RunPicture]:
    for picture in pictures:
        for step in picture.new_steps:
            _say(console, step_line(step))
        for event in picture.new_events:
            _say(console, event_line(event))
        yield picture


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _figures(picture: RunPicture) -> Panel:
    run, total = picture.run, picture.run.spec.optim.steps
    # The run's own step counts committed windows; the running window's steps are ahead of it.
    done = max([run.step, *(step.step + 1 for step in picture.steps[-1:])])
    grid = Table.grid(padding=(0, 2))
    grid.add_row("step", Text(f"{done}/{total}"), ProgressBar(total=total, completed=done, width=40))
    grid.add_row("status", Text(run.status, style=STATUS_STYLES[run.status]), f"generation {run.generation}")
    if picture.steps:
        last = picture.steps[-1]
        grid.add_row("loss", f"{last.loss:.4f} nats/token", Text(sparkline([step.loss for step in picture.steps])))
        grid.add_row("grad norm", f"{last.grad_norm:.3g}", Text(sparkline([step.grad_norm for step in picture.steps])))
        withheld = sum(not step.applied for step in picture.steps)
        grid.add_row("lr", f"{last.lr:.2e}", f"{withheld} updates withheld, {last.seconds:.2f} s a step")
    if run.evaluations:
        scores = ", ".join(f"{domain} {score.loss:.4f}" for domain, score in run.evaluations[-1].scores.items())
        grid.add_row("held out", f"step {run.evaluations[-1].step}", scores)
    grid.add_row("blacklist", f"{len(run.schedule.banned)} rows", "")
    return Panel(grid, title=f"{run.name}  {run.run_id}", border_style=STATUS_STYLES[run.status])


def _events(events: tuple[Event, ...]) -> Panel:
    lines = Table.grid()
    for event in events[-EVENTS_SHOWN:]:
        style = EVENT_STYLES.get(event.kind, "")
        lines.add_row(Text(event_line(event), style=style, no_wrap=True, overflow="ellipsis"))
    return Panel(lines, title="events", border_style="dim")
