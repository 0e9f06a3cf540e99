"""Tables and panels for what the API tells."""

from collections.abc import Collection, Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from aft_cli.live_view import STATUS_STYLES
from aft_cli.review_panel import repair_words
from aft_contracts import (
    BlacklistEntry,
    CheckpointView,
    CommandRecord,
    CommandStatus,
    DiagnosisReport,
    NotificationTarget,
    NotificationView,
    RepairState,
    Review,
    RunView,
    WorkerView,
)

SUSPECTS_SHOWN = 8


def runs_table(runs: Iterable[RunView]) -> Table:
    """Runs, one a line."""
    table = _table("run", "name", "status", "step", "loss", "gen", "banned", "created", ids={"run"})
    for run in runs:
        table.add_row(
            run.run_id,
            Text(run.name),
            Text(run.status, style=STATUS_STYLES[run.status]),
            f"{run.step}/{run.spec.optim.steps}",
            "" if run.loss is None else f"{run.loss:.4f}",
            str(run.generation),
            str(len(run.schedule.banned)),
            f"{run.created_at:%Y-%m-%d %H:%M}",
        )
    return table


def run_panel(run: RunView) -> Panel:
    """One run in full."""
    grid = Table.grid(padding=(0, 2))
    grid.add_row("status", Text(run.status, style=STATUS_STYLES[run.status]))
    grid.add_row("step", f"{run.step} of {run.spec.optim.steps}, generation {run.generation}")
    if run.loss is not None:
        grid.add_row("loss", f"{run.loss:.4f} nats/token")
    for scored in run.evaluations:
        scores = ", ".join(f"{domain} {score.loss:.4f}" for domain, score in scored.scores.items())
        grid.add_row(f"held out, step {scored.step}", scores)
    for entry in run.schedule.blacklist:
        until = "" if entry.until_step is None else f" until {entry.until_step}"
        grid.add_row("blacklisted", Text(f"{entry.sample_id} from step {entry.step}{until}: {entry.cause}"))
    if run.review_id is not None:
        grid.add_row("waits for", Text(f"aft review show {run.review_id}", style="yellow"))
    if run.export is not None:
        for name, path in (("adapter", run.export.adapter_path), ("merged", run.export.merged_path)):
            grid.add_row(*(name, Text(path)) if path else ())
    if run.problem is not None:
        grid.add_row("problem", Text(f"{run.problem.title}: {run.problem.detail} [{run.problem.code}]", style="red"))
    return Panel(grid, title=Text(f"{run.name}  {run.run_id}"), border_style=STATUS_STYLES[run.status])


def diagnosis_panel(report: DiagnosisReport) -> Panel:
    """One report: what the detectors said, who stood out, what the replays showed, and the verdict."""
    parts: list[RenderableType] = [Text(f"verdict: {report.verdict}", style="bold")]
    parts += [Text(f"  {reason}") for reason in report.reasons]
    if report.culprits:
        parts.append(Text(f"culprits: {', '.join(report.culprits)}", style="red"))
    if report.unproven:
        parts.append(Text(f"not shown to do harm: {', '.join(report.unproven)}", style="yellow"))
    parts += [_anomalies(report), _suspects(report)]
    if report.replays:
        parts.append(_replays(report))
    if report.repair is not None:
        parts.append(Text(f"repair: {report.repair.kind}{_became(report)}", style="bold"))
    return Panel(Group(*parts), title=f"{report.diagnosis_id}  window {report.window_id}", border_style="magenta")


def reviews_table(reviews: Iterable[Review]) -> Table:
    """Questions, one a line."""
    table = _table("review", "status", "asked", "until", "proposal", ids={"review"})
    for review in reviews:
        asked = f"{review.created_at:%Y-%m-%d %H:%M}"
        until = "" if review.deadline_at is None else f"{review.deadline_at:%Y-%m-%d %H:%M}"
        late = Text(until, style="bold red" if review.is_overdue else "")
        table.add_row(review.review_id, review.status, asked, late, Text(repair_words(review.proposal)))
    return table


def notifications_table(notifications: Iterable[NotificationView]) -> Table:
    """Messages, one a line."""
    table = _table("no.", "run", "what", "to", "state", "tries", "next", "last error", ids={"no.", "run"})
    for one in notifications:
        due = "" if one.next_attempt_in_s is None else f"in {one.next_attempt_in_s:.0f} s"
        target = Text(f"{one.channel} {one.target}")
        tries, error = str(one.attempts), Text(one.last_error, style="red")
        table.add_row(str(one.seq), one.run_id, Text(one.kind), target, Text(one.state), tries, due, error)
    return table


def targets_table(targets: Iterable[NotificationTarget]) -> Table:
    """Targets that are disabled or paused, one a line."""
    table = _table("target", "to", "state", "reason", ids={"target"})
    for one in targets:
        if one.disabled_at is not None:
            state = f"disabled since {one.disabled_at:%Y-%m-%d %H:%M}"
        else:
            state = f"paused for {one.paused_for_s or 0.0:.0f} s"
        table.add_row(one.target_id, Text(f"{one.channel} {one.target}"), state, Text(one.reason))
    return table


def commands_table(told: Iterable[CommandRecord]) -> Table:
    """What a run was told, one command a line."""
    table = _table("at", "command", "by", "through", "status", "what came of it")
    for record in told:
        code = "" if record.problem is None else f" [{record.problem.code}]"
        style = "red" if record.status is CommandStatus.REFUSED else ""
        table.add_row(
            f"{record.created_at:%Y-%m-%d %H:%M:%S}",
            Text(_command_words(record)),
            Text(record.given_by),
            record.channel,
            Text(record.status, style=style),
            Text(f"{record.outcome}{code}"),
        )
    return table


def _command_words(record: CommandRecord) -> str:
    given = record.command.model_dump(mode="json", exclude={"kind", "repair"}, exclude_defaults=True)
    return " ".join([record.command.kind, *(f"{name}={value}" for name, value in given.items())])


def blacklist_table(entries: Iterable[BlacklistEntry]) -> Table:
    """Bans, one a line."""
    table = _table("sample", "from step", "until", "evidence", "cause", ids={"sample", "evidence"})
    for entry in entries:
        until = "" if entry.until_step is None else str(entry.until_step)
        table.add_row(Text(entry.sample_id), str(entry.step), until, Text(entry.diagnosis_id or ""), Text(entry.cause))
    return table


def checkpoints_table(checkpoints: Iterable[CheckpointView], now: datetime) -> Table:
    """Checkpoints, one a line, with their age at `now`."""
    table = _table("gen", "step", "status", "size", "age", "damage")
    for one in checkpoints:
        size, age = f"{one.size_bytes / 1e6:.1f} MB", _age((now - one.written_at).total_seconds())
        table.add_row(
            str(one.generation), str(one.step), checkpoint_status(one), size, age, Text(one.damage or "", style="red")
        )
    return table


def checkpoint_status(checkpoint: CheckpointView) -> Text:
    """A checkpoint's state in a word."""
    if not checkpoint.committed:
        return Text("unfinished", style="yellow")
    if checkpoint.verified is None:
        return Text("committed")
    return Text("verified", style="green") if checkpoint.verified else Text("damaged", style="red")


def workers_table(workers: Iterable[WorkerView]) -> Table:
    """Workers, one a line."""
    table = _table("worker", "state", "heard", "url", "devices", "runs", "versions", ids={"worker", "url"})
    for worker in workers:
        info = worker.info
        if info is None:
            table.add_row(worker.worker_id or "", worker.state, "never", worker.url)
            continue
        versions = ", ".join(f"{name} {version}" for name, version in info.versions.items())
        devices, runs = f"{info.devices} {info.platform}", f"{len(worker.run_ids)}/{info.slots}"
        heard = "" if worker.heartbeat_age_s is None else f"{worker.heartbeat_age_s:.0f} s ago"
        table.add_row(worker.worker_id or info.worker_id, worker.state, heard, worker.url, devices, runs, versions)
    return table


def _anomalies(report: DiagnosisReport) -> Table:
    table = _table("anomaly", "step", "value", "score", "threshold", "update")
    for anomaly in report.anomalies:
        table.add_row(
            anomaly.kind,
            str(anomaly.step),
            f"{anomaly.value:.4g}",
            f"{anomaly.score:.3g}",
            f"{anomaly.threshold:g}",
            "applied" if anomaly.applied else "withheld",
        )
    return table


def _suspects(report: DiagnosisReport) -> Table:
    table = _table("suspect", "domain", "step", "loss", "grad norm", "score")
    for suspect in report.suspects[:SUSPECTS_SHOWN]:
        figures = (f"{suspect.loss:.4g}", f"{suspect.grad_norm:.3g}", f"{suspect.score:.3g}")
        table.add_row(suspect.sample_id, suspect.domain, str(suspect.step), *figures)
    return table


def _replays(report: DiagnosisReport) -> Table:
    cost = f"{len(report.replays)} replays, {report.replay_steps} steps, {report.replay_seconds:.1f} s"
    table = _table("replay", "masked", f"loss by step ({cost})")
    for replay in report.replays:
        losses = ", ".join(f"{step.step}: {step.loss:.4g}" for step in replay.steps)
        table.add_row(replay.name, ", ".join(replay.masked_sample_ids) or "nothing", losses)
    return table


def _became(report: DiagnosisReport) -> str:
    match report.repair_state:
        case RepairState.ON_PROBATION:
            return f", on probation until step {report.probation_ends_step}"
        case RepairState.PROVEN:
            return f", proven at step {report.probation_ends_step}"
        case RepairState.FAILED:
            return ", failed its probation"
        case None:
            return ""


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _table(*columns: str, ids: Collection[str] = ()) -> Table:
    """A plain table; ids stay whole on their line, since people copy them, and nothing is ever cut short."""
    table = Table(box=None)
    for column in columns:
        table.add_column(column, no_wrap=column in ids, overflow="ignore" if column in ids else "fold")
    return table
