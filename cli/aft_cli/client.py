"""A typed client of the control plane's API."""

import getpass
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from aft_cli.errors import ApiError, api_unreachable, unexpected_answer
from aft_contracts import (
    BlacklistEntry,
    Checkpoints,
    CheckpointView,
    Command,
    CommandRecord,
    DataPreview,
    DiagnosisReport,
    Event,
    NewToken,
    Notifications,
    NotificationState,
    NotificationTarget,
    NotificationTargets,
    NotificationView,
    PreviewRequest,
    Problem,
    Replayed,
    ReportFormat,
    Review,
    ReviewStatus,
    RunSpec,
    RunStatus,
    RunView,
    SampleOrder,
    SamplesReport,
    StepRecord,
    TokenRequest,
    TokenView,
    WindowView,
    WorkerView,
)

PAGE = 200
EVENT_PAGE = 500
AnswerT = TypeVar("AnswerT")

ANSWER_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
CHECK_WAIT_S = 30.0
"""How much longer a start may take: a worker looks at the spec first, and one that hangs is waited for by the API."""
PREVIEW_WAIT_S = 90.0
"""A worker reads the rows first, perhaps from afar."""
VERIFY_TIMEOUT_S = 600.0
SAMPLES_WAIT_S = 150.0
"""How much longer a report of samples may take: a worker reads the run's whole ledger for it."""


class ReviewPage(BaseModel):
    """A page of reviews."""

    reviews: list[Review]
    """Oldest first."""
    next_after: str | None = None
    """Where the next page begins."""


class AftClient:
    """The API's calls as methods; every failure is an `ApiError`."""

    def __init__(
        self,
        base_url: str,
        *,
        user: str | None = None,
        channel: str = "cli",
        token: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"X-Aft-User": user or _local_user(), "X-Aft-Channel": channel} | _bearer(token),
            transport=transport,
            # A proxy that the environment names must not be asked for this very machine.
            trust_env=urlsplit(base_url).hostname not in {"127.0.0.1", "::1", "localhost"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def create_run(self, spec: RunSpec, *, idempotency_key: str | None = None) -> RunView:
        """Start a run; the same key twice is one run."""
        headers, body = _key_header(idempotency_key), spec.model_dump(mode="json")
        return self._ask(RunView, "POST", "/runs", json=body, headers=headers, wait_s=CHECK_WAIT_S)

    def run(self, run_id: str) -> RunView:
        """One run."""
        return self._ask(RunView, "GET", f"/runs/{run_id}")

    def runs(self, *, status: RunStatus | None = None, limit: int | None = None) -> list[RunView]:
        """Runs."""
        return self._ask_list(RunView, "runs", "/runs", status=status, limit=limit)

    def send(self, run_id: str, command: Command, *, idempotency_key: str | None = None) -> CommandRecord:
        """Tell a run something; the same key twice is one command."""
        headers, body = _key_header(idempotency_key), command.model_dump(mode="json")
        return self._ask(CommandRecord, "POST", f"/runs/{run_id}/commands", json=body, headers=headers)

    def commands(self, run_id: str) -> list[CommandRecord]:
        """What a run was told, all pages of it."""
        told: list[CommandRecord] = []
        while True:
            after = told[-1].seq if told else 0
            page = self._ask_list(CommandRecord, "commands", f"/runs/{run_id}/commands", after=after, limit=PAGE)
            told += page
            if len(page) < PAGE:
                return told

    def events(self, run_id: str, *, after: int = 0, limit: int | None = None, wait_s: float = 0.0) -> list[Event]:
        """Events later than `after`; waits up to `wait_s` for the first one."""
        return self._ask_list(Event, "events", f"/runs/{run_id}/events", wait_s=wait_s, after=after, limit=limit)

    def all_events(self, run_id: str, *, after: int) -> Iterator[Event]:
        """Every event later than `after`, page by page."""
        while page := self.events(run_id, after=after, limit=EVENT_PAGE):
            yield from page
            after = page[-1].seq

    def steps(self, run_id: str, *, after: int | None = None) -> list[StepRecord]:
        """Steps of the current lineage beyond step `after`, the running window's among them; without their samples."""
        return self._ask_list(StepRecord, "steps", f"/runs/{run_id}/steps", after=after)

    def windows(self, run_id: str) -> list[WindowView]:
        """A run's windows, with every step and every sample of those that ended."""
        return self._ask_list(WindowView, "windows", f"/runs/{run_id}/windows")

    def diagnoses(self, run_id: str) -> list[DiagnosisReport]:
        """What a run's incidents turned out to be."""
        return self._ask_list(DiagnosisReport, "diagnoses", f"/runs/{run_id}/diagnoses")

    def blacklist(self, run_id: str) -> list[BlacklistEntry]:
        """A run's bans, lifted ones among them."""
        return self._ask_list(BlacklistEntry, "blacklist", f"/runs/{run_id}/blacklist")

    def checkpoints(self, run_id: str, *, verify: bool = False) -> tuple[CheckpointView, ...]:
        """A run's checkpoints on its worker's disk; with `verify` every file of them is read."""
        params, wait_s = {"verify": str(verify).lower()}, VERIFY_TIMEOUT_S if verify else CHECK_WAIT_S
        return self._ask(Checkpoints, "GET", f"/runs/{run_id}/checkpoints", params=params, wait_s=wait_s).checkpoints

    def samples(self, run_id: str, *, order: SampleOrder, domain: str | None, limit: int) -> SamplesReport:
        """A run's samples, those first that `order` puts first."""
        params = _query(order=order, domain=domain, limit=limit)
        return self._ask(SamplesReport, "GET", f"/runs/{run_id}/samples", params=params, wait_s=SAMPLES_WAIT_S)

    def samples_file(
        self, run_id: str, form: ReportFormat, *, order: SampleOrder, domain: str | None, limit: int
    ) -> bytes:
        """The same as a file of `form`."""
        params = _query(order=order, domain=domain, limit=limit, format=form)
        return self._send("GET", f"/runs/{run_id}/samples", params=params, wait_s=SAMPLES_WAIT_S).content

    def reviews(self, *, state: ReviewStatus | None = None, run_id: str | None = None) -> list[Review]:
        """Questions to humans, all pages of them; None asks for every state."""
        found: list[Review] = []
        after: str | None = None
        while True:
            params = _query(state=state or "all", run_id=run_id, after=after, limit=PAGE)
            page = self._ask(ReviewPage, "GET", "/reviews", params=params)
            found += page.reviews
            after = page.next_after
            if after is None:
                return found

    def review(self, review_id: str) -> Review:
        """One question."""
        return self._ask(Review, "GET", f"/reviews/{review_id}")

    def preview(self, request: PreviewRequest) -> DataPreview:
        """Rows as the model will see them."""
        body = request.model_dump(mode="json")
        return self._ask(DataPreview, "POST", "/data/preview", json=body, wait_s=PREVIEW_WAIT_S)

    def workers(self) -> list[WorkerView]:
        """The workers that the API knows, and whether they are there."""
        return self._ask_list(WorkerView, "workers", "/workers")

    def drain_worker(self, worker_id: str) -> WorkerView:
        """Give a worker no more runs."""
        return self._ask(WorkerView, "POST", f"/workers/{quote(worker_id, safe='')}/drain")

    def resume_worker(self, worker_id: str) -> WorkerView:
        """Give a drained worker runs again."""
        return self._ask(WorkerView, "POST", f"/workers/{quote(worker_id, safe='')}/resume")

    def create_token(self, request: TokenRequest) -> NewToken:
        """Make an API token."""
        return self._ask(NewToken, "POST", "/tokens", json=request.model_dump(mode="json"))

    def tokens(self) -> list[TokenView]:
        """All API tokens, without their secrets."""
        return self._ask_list(TokenView, "tokens", "/tokens")

    def revoke_token(self, token_id: str) -> TokenView:
        """End an API token."""
        return self._ask(TokenView, "DELETE", f"/tokens/{quote(token_id, safe='')}")

    def notifications(
        self, *, state: NotificationState | None = None, run_id: str | None = None, limit: int | None = None
    ) -> Notifications:
        """Messages that left or are to leave, newest first, and the backlog."""
        return self._ask(Notifications, "GET", "/notifications", params=_query(state=state, run_id=run_id, limit=limit))

    def replay_notification(self, seq: int) -> NotificationView:
        """Try one message again."""
        return self._ask(NotificationView, "POST", f"/notifications/{seq}/replay")

    def replay_failed_notifications(self) -> int:
        """Try everything again that was given up; how much that is."""
        return self._ask(Replayed, "POST", "/notifications/replay").replayed

    def notification_targets(self) -> tuple[NotificationTarget, ...]:
        """Targets that are disabled or have asked for a pause."""
        return self._ask(NotificationTargets, "GET", "/notifications/targets").targets

    def enable_target(self, target_id: str) -> tuple[NotificationTarget, ...]:
        """Send to a target again; those that are still disabled or paused."""
        path = f"/notifications/targets/{quote(target_id, safe='')}/enable"
        return self._ask(NotificationTargets, "POST", path).targets

    def _ask_list(
        self, item: type[AnswerT], key: str, path: str, *, wait_s: float = 0.0, **query: object
    ) -> list[AnswerT]:
        params = _query(**query)
        if wait_s:
            params["wait_s"] = f"{wait_s:g}"
        answer = self._ask(dict[str, list[item]], "GET", path, params=params, wait_s=wait_s)  # type: ignore[valid-type]
        return answer.get(key, [])

    def _ask(
        self,
        answer: type[AnswerT],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> AnswerT:
        response = self._send(method, path, params=params, json=json, headers=headers, wait_s=wait_s)
        try:
            return TypeAdapter(answer).validate_json(response.content)
        except ValidationError as strange:
            raise unexpected_answer(str(response.url), response.status_code, response.text) from strange

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> httpx.Response:
        timeout = httpx.Timeout(ANSWER_TIMEOUT_S + wait_s, connect=CONNECT_TIMEOUT_S)
        try:
            response = self._http.request(method, path, params=params, json=json, headers=headers, timeout=timeout)
        except httpx.TransportError as lost:
            raise api_unreachable(self.base_url, lost) from lost
        if response.is_error:
            raise _problem_of(response)
        return response


def _key_header(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key} if idempotency_key else {}


def _bearer(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _query(**given: object) -> dict[str, str]:
    return {name: str(value) for name, value in given.items() if value is not None}


def _problem_of(response: httpx.Response) -> ApiError:
    try:
        return ApiError(Problem.model_validate_json(response.content))
    except ValidationError:
        return unexpected_answer(str(response.url), response.status_code, response.text)


def _local_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user id without a name.
        return "local"
