"""What the demo shows at the end: what was poisoned, what aft found, and what it did about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aft_cli.client import AftClient
from aft_cli.review_panel import repair_words
from aft_contracts import Event, EventKind, Review, RunView, StepRecord, WindowView
from examples.demo.dataset import PoisonedRow


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything the summary tells, as the API told it."""

    run: RunView
    answer_key: tuple[PoisonedRow, ...]
    windows: Sequence[WindowView]
    reviews: Sequence[Review]
    repairs: Sequence[str]
    wall_s: float

    @property
    def blacklisted(self) -> frozenset[str]:
        """Rows that aft took out."""
        return frozenset(entry.sample_id for entry in self.run.schedule.blacklist)

    @property
    def missed(self) -> tuple[str, ...]:
        """Poisoned rows that aft did not take out."""
        return tuple(row.row_id for row in self.answer_key if row.row_id not in self.blacklisted)

    @property
    def innocent(self) -> tuple[str, ...]:
        """Sound rows that aft took out."""
        return tuple(sorted(self.blacklisted - {row.row_id for row in self.answer_key}))

    def met(self, row_id: str) -> str:
        """What the run did when it met a row."""
        for window in self.windows:
            for step in window.result.metrics.steps if window.result else ():
                if any(sample.sample_id == row_id for sample in step.samples):
                    return _fate(step, window.generation, self.run)
        return "never drawn"


def read_outcome(
    client: AftClient, run: RunView, answer_key: tuple[PoisonedRow, ...], repairs: Sequence[str], wall_s: float
) -> Outcome:
    """Ask the API for the rest of the story."""
    return Outcome(
        run=run,
        answer_key=answer_key,
        windows=client.windows(run.run_id),
        reviews=client.reviews(run_id=run.run_id),
        repairs=repairs,
        wall_s=wall_s,
    )


def print_summary(outcome: Outcome, console: Console) -> None:
    """Print the whole summary."""
    console.print(_rows_table(outcome))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    found = len(outcome.answer_key) - len(outcome.missed)
    facts.add_row("run", f"{outcome.run.run_id}: {outcome.run.status}")
    facts.add_row("found", f"{found} of {len(outcome.answer_key)} poisoned rows")
    facts.add_row("missed", ", ".join(outcome.missed) or "none")
    facts.add_row("innocent rows blacklisted", ", ".join(outcome.innocent) or "none")
    for repair in outcome.repairs:
        facts.add_row("repair", Text(repair))
    for review in outcome.reviews:
        answer = f"{review.decision.answer} by {review.decided_by}" if review.decision else "not answered"
        facts.add_row("human question", Text(f"{repair_words(review.proposal)}? {answer}"))
    for domain, words in _held_out(outcome.run).items():
        facts.add_row(f"held-out loss, {domain}", words)
    if outcome.run.export is not None:
        facts.add_row("adapter", Text(outcome.run.export.adapter_path or "none"))
    facts.add_row("wall time", f"{outcome.wall_s:.0f} s")
    console.print(Panel(facts, title="what happened"))


def repair_events(events: Sequence[Event]) -> list[str]:
    """The repairs that were chosen, each with the first of its reasons."""
    chosen = [event for event in events if event.kind is EventKind.REPAIR_CHOSEN]
    return [f"step {event.step}: {event.message.split('. ')[0]}" for event in chosen]


def _rows_table(outcome: Outcome) -> Table:
    table = Table(title="the answer key", box=None)
    table.add_column("poisoned row", no_wrap=True)
    for column in ("kind", "found", "what the run did with it"):
        table.add_column(column, overflow="fold")
    for row in outcome.answer_key:
        found = Text("yes", style="green") if row.row_id in outcome.blacklisted else Text("no", style="red")
        table.add_row(row.row_id, row.kind, found, outcome.met(row.row_id))
    return table


def _fate(step: StepRecord, generation: int, run: RunView) -> str:
    if not step.applied:
        return f"step {step.step}: update withheld ({step.withheld})"
    undone = any(branch.generation > generation and branch.step <= step.step for branch in run.schedule.branches)
    return f"step {step.step}: applied, then rolled back" if undone else f"step {step.step}: applied"


def _held_out(run: RunView) -> dict[str, str]:
    if len(run.evaluations) < 2:
        return {}
    before, after = run.evaluations[0].scores, run.evaluations[-1].scores
    return {
        domain: f"{before[domain].loss:.4f} before, {after[domain].loss:.4f} after (nats per token)"
        for domain in after
        if domain in before
    }
