"""What a run left behind, from every side that can tell: API, store, receiver of webhooks, and disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

from tests.chaos.system import System


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window, as the API tells it."""

    index: int
    generation: int
    start_step: int
    end_step: int
    status: str
    state_digest: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One run. Ids come without the run's own id, so that two runs can be compared."""

    run_id: str
    status: str
    windows: tuple[Window, ...]
    adapter: bytes
    """The exported weights."""
    evaluations: tuple[Any, ...]
    blacklist: tuple[tuple[str, int], ...]
    """(sample id, step)."""
    reviews: tuple[tuple[str, str, str], ...]
    """(review id, status, answer)."""
    review_events: tuple[str, ...]
    """Review ids of the events that say that somebody was asked."""
    announced: tuple[str, ...]
    """Notification ids in the outbox, oldest first."""
    delivered: tuple[str, ...]
    """Webhook ids that the receiver accepted, in order, with repetitions."""
    failures: tuple[str, ...] = ()
    """Codes of failed attempts, of windows and of other jobs: part of no comparison."""


def gather(system: System, run_id: str) -> Facts:
    """Everything that is known of a run that has ended."""

    def ask(path: str, **params: Any) -> Any:
        response = system.ask("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    run = ask(f"/runs/{run_id}")
    events = ask(f"/runs/{run_id}/events", limit=1000)["events"]
    export = run["export"] or {}
    return Facts(
        run_id=run_id,
        status=run["status"],
        windows=tuple(_window(window) for window in ask(f"/runs/{run_id}/windows")["windows"]),
        adapter=_adapter(export.get("adapter_path")),
        evaluations=tuple(run["evaluations"]),
        blacklist=tuple((entry["sample_id"], entry["step"]) for entry in run["schedule"]["blacklist"]),
        reviews=tuple(
            (review["review_id"].replace(run_id, "run"), review["status"], (review["decision"] or {}).get("answer", ""))
            for review in ask("/reviews", run_id=run_id)["reviews"]
        ),
        review_events=tuple(
            event["details"]["review_id"].replace(run_id, "run")
            for event in events
            if event["kind"] == "review_requested"
        ),
        announced=tuple(_announced(system, run_id)),
        delivered=tuple(
            webhook_id.replace(run_id, "run")
            for webhook_id, body in system.receiver.accepted
            if body["data"]["run_id"] == run_id
        ),
        failures=tuple(
            event["details"]["code"] for event in events if event["kind"] in {"window_failed", "job_failed"}
        ),
    )


def pending_notifications(system: System) -> int:
    """Messages in the outbox that have not been delivered or given up."""
    with _store(system).connect() as connection:
        return int(
            connection.execute(sqlalchemy.text("SELECT count(*) FROM outbox WHERE status = 'pending'")).scalar_one()
        )


def make_notifications_due(system: System) -> None:
    """Move time on for the outbox: the pauses between its attempts are minutes and hours."""
    with _store(system).begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE outbox SET next_attempt_at = 0 WHERE status = 'pending'"))


def _window(view: dict[str, Any]) -> Window:
    result = view["result"] or {}
    return Window(
        index=view["index"],
        generation=view["generation"],
        start_step=view["start_step"],
        end_step=result.get("end_step", -1),
        status=view["status"],
        state_digest=result.get("state_digest", ""),
    )


def _adapter(path: str | None) -> bytes:
    return b"" if path is None else (Path(path) / "adapter_model.safetensors").read_bytes()


def _announced(system: System, run_id: str) -> list[str]:
    query = sqlalchemy.text("SELECT key FROM outbox WHERE run_id = :run_id AND channel = 'webhook' ORDER BY seq")
    with _store(system).connect() as connection:
        keys = connection.execute(query, {"run_id": run_id}).scalars().all()
    prefix = f"webhook:{system.receiver.url}:"
    return [key.removeprefix(prefix).replace(run_id, "run") for key in keys]


def _store(system: System) -> sqlalchemy.Engine:
    if system.postgres is not None:
        url = sqlalchemy.make_url(system.postgres.url).set(drivername="postgresql+psycopg")
        return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    path = system.folder / "api-0" / "control.db"
    return sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool, connect_args={"timeout": 15})
