"""How a review looks: what happened, the options, and how to answer."""

from collections.abc import Iterator

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aft_cli.sparkline import sparkline
from aft_contracts import Approve, Evidence, Option, Reject, Repair, Review, Stop

ANOMALIES_SHOWN = 4


def review_panel(review: Review) -> Panel:
    """A question, what happened, what is proposed, and how to answer."""
    lines = Table.grid(padding=(0, 1))
    lines.add_row(Text(review.question, style="bold"))
    for words in () if review.evidence is None else _evidence_lines(review.evidence):
        lines.add_row(Text(words, style="dim"))
    lines.add_row(Text(f"Proposal: {repair_words(review.proposal)}"))
    for reason in review.proposal.reasons if review.proposal else ():
        lines.add_row(Text(f"  because {reason}", style="dim"))
    for option in review.options:
        mark = "recommended" if option.name == review.recommended else ""
        lines.add_row(Text(f"{option.name:>8}  {option.effect} {mark}".rstrip()))
        if review.decision is None:
            lines.add_row(Text(f"          {how_to_take(review, option)}", style="yellow"))
    for row in _answer_lines(review):
        lines.add_row(row)
    return Panel(lines, title=f"review {review.review_id}", border_style="yellow")


def how_to_take(review: Review, option: Option) -> str:
    """The command line that takes an option."""
    match option.command:
        case Approve():
            return f"aft review approve {review.review_id}"
        case Reject():
            return f"aft review reject {review.review_id}"
        case Stop():
            return f"aft review approve {review.review_id} --option {option.name}   (ends the run)"
        case _:
            return f"aft review approve {review.review_id} --option {option.name}"


def repair_words(repair: Repair | None) -> str:
    """What a repair does, in words."""
    if repair is None:
        return "go on"
    parts = [
        f"roll back to step {repair.rollback_to_step}" if repair.rollback_to_step is not None else "",
        f"blacklist {', '.join(repair.blacklist)}" if repair.blacklist else "",
        _rate_words(repair) if repair.lr_factor is not None else "",
        f"clip norm {repair.clip_norm:g}" if repair.clip_norm is not None else "",
    ]
    return "; ".join(filter(None, parts)) or str(repair.kind)


def _rate_words(repair: Repair) -> str:
    since = "" if repair.rate_from_step is None else f" from step {repair.rate_from_step} on"
    return f"learning rate x {repair.lr_factor:g}{since}"


def _evidence_lines(evidence: Evidence) -> Iterator[str]:
    if evidence.losses:
        first, last = evidence.losses[0].step, evidence.losses[-1].step
        yield f"loss of steps {first} to {last}: {sparkline([point.loss for point in evidence.losses])}"
    for anomaly in evidence.anomalies[:ANOMALIES_SHOWN]:
        update = "applied" if anomaly.applied else "withheld"
        yield f"step {anomaly.step}: {anomaly.kind}, {anomaly.value:.4g}, score {anomaly.score:.3g}, update {update}"
    more = evidence.anomaly_count - len(evidence.anomalies[:ANOMALIES_SHOWN])
    if more > 0:
        yield f"and {more} finding(s) more"
    for replay in evidence.replays:
        yield f"replay {replay.name}, {replay.masked} sample(s) masked: loss {replay.loss:.4g} at step {replay.step}"
    if evidence.culprits:
        yield f"culprits: {', '.join(evidence.culprits)}"


def _answer_lines(review: Review) -> Iterator[Text]:
    if review.decision is not None:
        taken = review.decision.option or review.decision.answer
        through = f" through {review.decided_via}" if review.decided_via else ""
        yield Text(f"{taken} by {review.decided_by}{through}. {review.decision.message}".rstrip(), style="green")
        return
    if not review.options:
        yield Text(f"Answer with: aft review approve {review.review_id}   (or reject)", style="yellow")
    if review.answered_by:
        yield Text(f"For {', '.join(review.answered_by)} to answer.", style="yellow")
    if review.is_overdue:
        yield Text(f"Its deadline, {review.deadline_at:%Y-%m-%d %H:%M} UTC, has passed.", style="bold red")
    elif review.deadline_at is not None:
        yield Text(f"Until {review.deadline_at:%Y-%m-%d %H:%M} UTC; then: {review.on_deadline}.", style="yellow")
